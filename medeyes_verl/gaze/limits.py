"""What a gaze may be, and the words for what was wrong (the wording: prompts/default/feedback.yaml).

The words form a small closed vocabulary (a tokenizer can be trained on `fault_message` of every fault in
`MESSAGES`); only the numbers, the actual limits, differ from picture to picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from medeyes_verl.gaze.geometry import Box, Frame, Size, frame_size, to_original
from medeyes_verl.gaze.grammar import TOOL_NAME, Fault
from medeyes_verl.prompts.files import PHRASES
from medeyes_verl.prompts.templates import phrases

_TOLERANCE = 1e-6
"""A box at a limit is inside it, whatever the rounding of the passage between frames."""


@dataclass(frozen=True, slots=True)
class GazeLimits:
    """The limits of gazes on one picture."""

    frame: Frame
    """The frame boxes are written in."""
    view: Size
    """Size of the picture as the model sees it."""
    original: Size
    """Size of the picture in its file."""
    images: int
    """How many pictures the episode has."""
    min_box_side: float
    """Shortest side, in pixels of the original."""
    max_aspect_ratio: float
    """Longest side over shortest, in pixels of the original."""

    @property
    def frame_size(self) -> Size:
        """The largest x and y a box may reach."""
        return frame_size(self.frame, self.view)

    @property
    def smallest_box(self) -> Size:
        """The shortest sides a box may have, in the model's frame; no longer than the picture itself."""
        width, height = (
            math.ceil(min(self.min_box_side, side) * reach / side - _TOLERANCE)
            for side, reach in zip(self.original, self.frame_size, strict=True)
        )
        return Size(width, height)

    def fault_of(self, box: Box) -> Fault | None:
        """What is wrong with a box as written, in the model's frame; None when it may be cropped."""
        if box.width < 0 or box.height < 0:
            return Fault.inverted_box
        if box.area == 0:
            return Fault.empty_box
        reach = self.frame_size
        if min(box.x1, box.y1) < 0 or box.x2 > reach.width or box.y2 > reach.height:
            return Fault.outside_box
        smallest = self.smallest_box
        if box.width < smallest.width - _TOLERANCE or box.height < smallest.height - _TOLERANCE:
            return Fault.tiny_box
        cut = to_original(box, self.frame, self.view, self.original)
        short, long = sorted((cut.width, cut.height))
        return Fault.sliver_box if long > short * self.max_aspect_ratio + _TOLERANCE else None


OF_TOOLS = ("tool_limit", "unknown_tool_of_several")
"""Words that are said only where there are tools of the user's."""
MESSAGES: tuple[Fault, ...] = tuple(Fault(name) for name in PHRASES["feedback.yaml"] if name not in OF_TOOLS)
"""The faults that an observation answers, but for those of the user's tools."""


def fault_message(fault: Fault, limits: GazeLimits, prompts: str | None = None) -> str:
    """What the observation says after a fault: what was wrong, and what is allowed.

    `prompts` is the folder of the words (prompts/default/feedback.yaml). Raises KeyError for a fault without an
    observation: a slip of form, or the gaze limit.
    """
    reach, smallest = limits.frame_size, limits.smallest_box
    return phrases(prompts, "feedback.yaml")[fault.value][0].render(
        tool=TOOL_NAME,
        width=reach.width,
        height=reach.height,
        min_width=smallest.width,
        min_height=smallest.height,
        ratio=f"{limits.max_aspect_ratio:g}",
        images=limits.images,
    )


def tool_message(name: str, prompts: str | None, **values: object) -> str:
    """One of the words that are said only where there are tools of the user's (`OF_TOOLS`)."""
    return phrases(prompts, "feedback.yaml")[name][0].render(values)
