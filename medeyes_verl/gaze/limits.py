"""What a gaze may be, and the words for what was wrong: the rule and its wording side by side.

The words form a small closed vocabulary (a tokenizer can be trained on `fault_message` of every fault in
`MESSAGES`); only the numbers, the actual limits, differ from picture to picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from medeyes_verl.gaze.geometry import Box, Frame, Size, frame_size, to_original
from medeyes_verl.gaze.grammar import TOOL_NAME, Fault

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


MESSAGES: dict[Fault, str] = {
    Fault.no_action_or_answer: "Nothing done. Write one action or one answer.",
    Fault.unclosed_tag: "Open tag. Close the action or the answer.",
    Fault.two_actions: "Two actions. Write one action.",
    Fault.answer_beside_action: "Action and answer. Write one action or one answer.",
    Fault.malformed_action: 'Malformed action. Write {{"name": "{tool}", "coordinate": [x1, y1, x2, y2]}}.',
    Fault.unknown_tool: 'Unknown tool. Write "name": "{tool}".',
    Fault.empty_answer: "Empty answer. Write one answer.",
    Fault.empty_box: "Empty box. Write x1 below x2, y1 below y2.",
    Fault.inverted_box: "Inverted box. Write x1 below x2, y1 below y2.",
    Fault.outside_box: "Outside box. Write x from 0 to {width}, y from 0 to {height}.",
    Fault.tiny_box: "Tiny box. Write x2 - x1 from {min_width}, y2 - y1 from {min_height}.",
    Fault.sliver_box: "Sliver box. Write one side at most {ratio} times the other.",
    Fault.unknown_image: "Unknown image. Write image from 1 to {images}.",
}
"""One template for every fault that an observation answers."""


def fault_message(fault: Fault, limits: GazeLimits) -> str:
    """What the observation says after a fault: what was wrong, and what is allowed.

    Raises KeyError for a fault without an observation: a slip of form, or the gaze limit.
    """
    reach, smallest = limits.frame_size, limits.smallest_box
    return MESSAGES[fault].format(
        tool=TOOL_NAME,
        width=reach.width,
        height=reach.height,
        min_width=smallest.width,
        min_height=smallest.height,
        ratio=f"{limits.max_aspect_ratio:g}",
        images=limits.images,
    )
