"""What a run needs of the machine that it starts on, where that is the machine it trains on."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from medeyes_verl.plugin.problem import Problem, value_of

ATTENTION = "actor_rollout_ref.model.override_config.attn_implementation"
DEFAULT_ATTENTION = "flash_attention_2"
"""What veRL asks transformers for where the key is absent (workers/config/model.py)."""
PADDING = "actor_rollout_ref.model.use_remove_padding"


def machine_problems(config: Any) -> Iterator[Problem]:
    """Yield what this machine lacks for the run. A run that joins a Ray cluster trains elsewhere and has none."""
    if os.environ.get("RAY_ADDRESS") or value_of(config, "ray_kwargs.ray_init.address"):
        return
    attention = value_of(config, ATTENTION) or DEFAULT_ATTENTION
    if attention == DEFAULT_ATTENTION and find_spec("flash_attn") is None:
        yield Problem(
            ATTENTION,
            attention,
            "it needs flash-attn, which is not installed; the run would end when the policy is loaded",
            f"pip install --no-build-isolation 'medeyes-verl[flash-attn]'; or do without: ++{ATTENTION}=sdpa "
            f"{PADDING}=false",
        )
