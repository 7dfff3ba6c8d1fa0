"""From a region to the box of a gaze: with some context, wide enough to be seen, inside the picture.

A clinician does not look at a lesion's tight outline. How much context a gaze takes is also where the
trajectories of one question differ, and a fixed side on a grid is what a very small policy can learn.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated, Literal

from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.settings.reader import Between, SettingError, check

PresetName = Literal["paper", "tiny"]
"""Experts for a real model, or for the tiny policy: `sampler_preset`, `script_preset`."""


@dataclass(frozen=True, slots=True)
class Framing:
    """How gazes are framed. Lengths are pixels of the original image."""

    margins: tuple[Annotated[float, Between(0)], ...] = (0.25, 0.5, 1.0)
    """Context, as a share of the region's side, that a gaze adds in all; one is drawn a gaze, halved at each
    further drill. Few values, so that a remote oracle is asked about few different crops."""
    min_side: Annotated[float, Between(1)] = 56.0
    """A gaze is at least so wide and high (or as the image)."""
    max_aspect_ratio: Annotated[float, Between(1)] = 4.0
    """Longest over shortest side; the shorter one is widened."""
    side: Annotated[int, Between(0)] = 0
    """If positive, every gaze is a square of this side and margins do not matter."""
    grid: Annotated[int, Between(0)] = 0
    """If positive, corners of such squares lie on multiples of it."""
    jitter: Annotated[float, Between(0)] = 0.0
    """Standard deviation of a gaze's offset, before it is put on the grid."""

    def __post_init__(self) -> None:
        check(self)
        if not self.margins:
            raise SettingError("margins", "()", "use a list of at least one number")

    def gaze(self, region: Box, size: Size, depth: int, rng: random.Random) -> Box:
        """The gaze at `region` of a picture of `size`; `depth` counts the drills into the region before this one."""
        if self.side:
            width = height = float(self.side)
        else:
            context = 1.0 + rng.choice(self.margins) / 2**depth
            width, height = region.width * context, region.height * context
            width = max(width, self.min_side, height / self.max_aspect_ratio)
            height = max(height, self.min_side, width / self.max_aspect_ratio)
        x1, x2 = self._place((region.x1 + region.x2) / 2, width, size.width, rng)
        y1, y2 = self._place((region.y1 + region.y2) / 2, height, size.height, rng)
        return Box(x1, y1, x2, y2)

    def _place(self, centre: float, length: float, limit: int, rng: random.Random) -> tuple[float, float]:
        """One side of `length` around `centre`, moved inside 0..limit."""
        offset = rng.gauss(0.0, self.jitter) if self.jitter else 0.0
        start, room = centre + offset - length / 2, max(0.0, limit - length)
        if self.grid:
            start = min(max(round(start / self.grid), 0), int(room // self.grid)) * self.grid
        else:
            start = round(min(max(start, 0.0), room))
        return start, min(round(start + length), limit)


GRID_FRAMING = Framing(side=112, grid=56, jitter=12.0)
"""28-pixel boxes with corners on multiples of 14 in a 112-pixel view of a 448-pixel original: one merged visual
token each, 49 places in all, which a policy of a few million parameters learns in minutes."""
