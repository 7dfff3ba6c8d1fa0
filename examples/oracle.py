"""An oracle of your own: it looks at the brightest patches of the first image, and knows the table's answer.

    medeyes-verl experts build --data DATA/train.parquet --store DATA/experts \
        --oracle examples/oracle.py:BrightPatches oracle.own.settings.top=2
"""

from collections.abc import Sequence

import numpy as np

from medeyes_verl.expert.oracles.protocol import Answer, Assessment, Candidate, Finding, Located
from medeyes_verl.expert.question import Question
from medeyes_verl.gaze.crop import open_picture
from medeyes_verl.gaze.geometry import Box


class BrightPatches:
    """Settings are keyword arguments; the same question has to get the same reply each time."""

    def __init__(self, grid: int = 4, top: int = 3) -> None:
        self.name = "bright_patches"
        self.grid, self.top = grid, top

    async def locate(self, question: Question, findings: Sequence[Finding]) -> Located:
        grey = open_picture(question.image_paths[0]).convert("L").resize((self.grid, self.grid))
        brightness = np.asarray(grey, dtype=float) / 255
        width, height = (side / self.grid for side in question.image_sizes[0])
        places = [divmod(int(place), self.grid) for place in brightness.ravel().argsort()[::-1][: self.top]]
        boxes = [Box(x * width, y * height, (x + 1) * width, (y + 1) * height) for y, x in places]
        return Located(tuple(Candidate(box, brightness[place]) for box, place in zip(boxes, places, strict=True)))

    async def assess(self, question: Question, candidate: Candidate, gaze: Box) -> Assessment:
        return Assessment(candidate.confidence, "a bright patch")

    async def answer(self, question: Question, findings: Sequence[Finding]) -> Answer:
        return Answer(question.ground_truth)

    async def close(self) -> None: ...
