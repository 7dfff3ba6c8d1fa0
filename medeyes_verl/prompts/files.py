"""The files of a prompt folder and the placeholders of each: which may stand in it, which must, and values to try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Placeholders:
    """Of one text."""

    samples: tuple[Mapping[str, Any], ...] = ({},)
    """Values to try it with, one mapping for each case that matters; their keys are what may stand in it."""
    required: frozenset[str] = field(default_factory=frozenset)
    """What must stand in it."""

    @property
    def known(self) -> frozenset[str]:
        """What may stand in it."""
        return frozenset(self.samples[0])


def _of(required: str = "", optional: str = "") -> Placeholders:
    names = required.split()
    return Placeholders((dict.fromkeys([*names, *optional.split()], "x"),), frozenset(names))


_VIEW = {"width": 336, "height": 252}
_TURN = "<reasoning>why</reasoning>\n<answer>what</answer>"
_TOOL = {"name": "Contrast", "words": "To stretch the grey values, write", "example": _TURN, "max_calls": 2}
_SYSTEM = {"max_gazes": 4, "gaze": _TURN, "gaze_on_last": _TURN, "answer": _TURN}
_ASKED = {"question": "What is it?"}

TEXTS: dict[str, Placeholders] = {
    "system_prompt.j2": Placeholders(
        (
            {**_SYSTEM, "frame": "absolute", "views": [_VIEW], "tools": []},
            {**_SYSTEM, "frame": "absolute", "views": [_VIEW, _VIEW], "tools": [_TOOL]},
            {**_SYSTEM, "frame": "relative_1000", "views": [], "tools": [{**_TOOL, "max_calls": None}]},
        ),
        frozenset({"max_gazes", "gaze", "answer"}),
    ),
    "oracle_system.j2": Placeholders(),
    "oracle_locate.j2": Placeholders(
        (
            {**_ASKED, "max_regions": 5, "frame": "absolute", "sizes": [_VIEW], "seen": []},
            {**_ASKED, "max_regions": 5, "frame": "relative_1000", "sizes": [_VIEW, _VIEW],
             "seen": [{"label": "mass", "confidence": "0.75"}]},
        ),
        frozenset({"question", "max_regions"}),
    ),
    "oracle_assess.j2": Placeholders(
        (
            {**_ASKED, "label": None, "frame": "absolute", "size": _VIEW},
            {**_ASKED, "label": "mass", "frame": "relative_1000", "size": _VIEW},
        ),
        frozenset({"question"}),
    ),
    "oracle_answer.j2": Placeholders(
        (
            {**_ASKED, "question_type": "closed", "options": [], "crops": 0},
            {**_ASKED, "question_type": "multiple_choice", "options": ["A. left", "B. right"], "crops": 1},
            {**_ASKED, "question_type": "open", "options": [], "crops": 2},
        ),
        frozenset({"question", "options"}),
    ),
}  # fmt: skip
"""Files that are one template."""

PHRASES: dict[str, dict[str, Placeholders]] = {
    "feedback.yaml": {
        "no_action_or_answer": _of(), "unclosed_tag": _of(), "two_actions": _of(), "answer_beside_action": _of(),
        "malformed_action": _of("tool"), "unknown_tool": _of("tool"), "empty_answer": _of(), "empty_box": _of(),
        "inverted_box": _of(), "outside_box": _of("width height"), "tiny_box": _of("min_width min_height"),
        "sliver_box": _of("ratio"), "unknown_image": _of("images"), "tool_limit": _of("tool", "calls"),
        "unknown_tool_of_several": _of("tools"),
    },
    "expert.yaml": {
        "scan": _of(), "rescan": _of(), "look": _of("place"), "look_named": _of("label", "place"), "drill": _of(),
        "nothing": _of(), "seen": _of("label"), "unnamed": _of(), "conclude_seen": _of("label", "place"),
        "conclude_unnamed": _of("place"), "conclude_nothing": _of(),
    },
    "places.yaml": {
        **dict.fromkeys(
            ("upper_left", "upper_right", "lower_left", "lower_right", "upper", "lower", "left", "right", "middle"),
            _of("image"),
        ),
        "image": _of(), "image_of_several": _of("number"),
    },
    "script.yaml": {
        "asked": _of("question"), "labelled": _of("labels"), "whole": _of("", "image"), "look": _of("place"),
        "look_on": _of("place"), "missed": _of(), "conclude_seen": _of("label", "place question"),
        "conclude_looked": _of("places", "question"), "after_sentence": _of(), "between_places": _of(),
        "before_last_place": _of(), "whole_image": _of(),
    },
}  # fmt: skip
"""Files that are a mapping from a name to one wording or a list of them."""
