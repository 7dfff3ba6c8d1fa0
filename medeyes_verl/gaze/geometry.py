"""Boxes, and the coordinate frames they are written in.

A box belongs to one of two worlds. The world of the ORIGINAL picture: floats, pixels of the file, what is
cropped, stored and rewarded. And the frame the model writes in: integers, either pixels of the resized view
it was shown (Qwen2.5-VL) or thousandths of each side (Qwen3-VL). `to_original` and `to_model` are the only
passages between them. Cropping the original with unmapped coordinates, or the shrunken view with mapped ones,
are the classic faults.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

Frame = Literal["absolute", "relative_1000"]
"""`absolute`: pixels of the view the model sees. `relative_1000`: 0..1000 along each side."""

FRAMES: tuple[Frame, ...] = ("absolute", "relative_1000")


class Size(NamedTuple):
    """Width and height of a picture in pixels, in Pillow's order."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle, x to the right and y down; x1, y1 belong to it, x2, y2 are the first beyond it."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def width(self) -> float:
        """x2 − x1; negative for an inverted box."""
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        """y2 − y1; negative for an inverted box."""
        return self.y2 - self.y1

    @property
    def area(self) -> float:
        """Area in squared units of the frame; 0 for an empty or inverted box."""
        return max(0.0, self.width) * max(0.0, self.height)

    def as_list(self) -> list[float]:
        """[x1, y1, x2, y2], the order of the written action."""
        return [self.x1, self.y1, self.x2, self.y2]

    def intersection(self, other: Box) -> Box:
        """The part that both share; of area 0 when there is none."""
        return Box(max(self.x1, other.x1), max(self.y1, other.y1), min(self.x2, other.x2), min(self.y2, other.y2))

    def iou(self, other: Box) -> float:
        """Intersection over union in [0, 1]; 0 when both boxes are empty."""
        shared = self.intersection(other).area
        union = self.area + other.area - shared
        return shared / union if union > 0 else 0.0

    def clipped(self, size: Size) -> Box:
        """The part inside a picture of this size; of area 0 when there is none."""
        return Box(
            min(max(self.x1, 0.0), size.width),
            min(max(self.y1, 0.0), size.height),
            min(max(self.x2, 0.0), size.width),
            min(max(self.y2, 0.0), size.height),
        )

    def scaled(self, x: float, y: float) -> Box:
        """Both x coordinates times `x`, both y coordinates times `y`."""
        return Box(self.x1 * x, self.y1 * y, self.x2 * x, self.y2 * y)

    def snapped(self, size: Size) -> Box:
        """The nearest box of whole pixels inside `size` with sides of at least 1."""
        x1, x2 = _snapped_side(self.x1, self.x2, size.width)
        y1, y2 = _snapped_side(self.y1, self.y2, size.height)
        return Box(x1, y1, x2, y2)


def _snapped_side(low: float, high: float, limit: int) -> tuple[int, int]:
    start, end = round(low), round(high)
    if end <= start:  # narrower than a pixel: the pixel it begins in
        start = math.floor(low)
    start = min(max(start, 0), limit - 1)
    return start, min(max(end, start + 1), limit)


def frame_size(frame: Frame, view: Size) -> Size:
    """How far coordinates run in the model's frame for a view of this size."""
    return view if frame == "absolute" else Size(1000, 1000)


def to_original(box: Box, frame: Frame, view: Size, original: Size) -> Box:
    """A box as the model wrote it, in pixels of the original picture (floats, not clipped)."""
    limits = frame_size(frame, view)
    return box.scaled(original.width / limits.width, original.height / limits.height)


def to_model(box: Box, frame: Frame, view: Size, original: Size) -> Box:
    """A box in pixels of the original as the model would write it: integers inside the frame, never empty.

    Rounding moves an edge by at most one unit of the model's frame (half a unit unless the box is narrower
    than one), and `to_model(to_original(b)) == b` for a valid integer box b.
    """
    limits = frame_size(frame, view)
    return box.scaled(limits.width / original.width, limits.height / original.height).snapped(limits)
