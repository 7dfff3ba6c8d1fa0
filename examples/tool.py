"""A tool of your own: it stretches the grey values between two percentiles, as a radiologist changes the window.

    python -m verl.trainer.main_ppo +medeyes=qwen2_5_vl_3b medeyes.data=DATA \
        'actor_rollout_ref.rollout.custom.medeyes.episode.tools=[examples/tool.py:Contrast]'
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from medeyes_verl.gaze.observation import Observation
from medeyes_verl.gaze.tool import ToolError


class Contrast:
    """The policy writes {"name": "Contrast", "from": 10, "to": 90}; a call uses up one of `max_gazes`."""

    name = "Contrast"
    words = 'To see the image with more contrast between two percentiles of its grey values, "from" and "to", write:'
    example: Mapping[str, Any] = {"from": 10, "to": 90}
    max_calls = None

    def apply(self, image: Image.Image, arguments: Mapping[str, Any]) -> Observation:
        low, high = arguments.get("from"), arguments.get("to")
        if set(arguments) != {"from", "to"} or type(low) is not int or type(high) is not int:
            raise ToolError('Malformed contrast. Write "from" and "to" as whole numbers.')
        if not 0 <= low < high <= 100:
            raise ToolError("Wrong contrast. Write 0 to 100, from below to.")
        grey = np.asarray(image.convert("L"), dtype=float)
        dark, bright = np.percentile(grey, [low, high])
        stretched = np.clip((grey - dark) * (255 / max(bright - dark, 1)), 0, 255)
        return Observation(f"Contrast {low} to {high}.", Image.fromarray(stretched.astype(np.uint8)))
