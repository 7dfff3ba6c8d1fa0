"""What happened in an episode, as plain facts: reward and metrics read these and never parse text again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from medeyes_verl.gaze.geometry import Box
from medeyes_verl.gaze.grammar import Fault

Mode = Literal["scan", "drill"]
"""`scan`: the gaze covers most of its picture or widens the one before. `drill`: it zooms in."""
Finish = Literal["answered", "gaze_limit", "truncated"]
"""How an episode ended: by an answer, by a last turn without one, or by running out of tokens."""


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """The facts of one finished episode."""

    boxes: tuple[Box, ...]
    """Valid gazes only, in pixels of the ORIGINAL picture."""
    images: tuple[int, ...]
    """The picture of each box, from 1."""
    modes: tuple[Mode, ...]
    """The mode of each box."""
    answer: str | None
    """The accepted answer, stripped; None unless the finish is `answered`."""
    faults: tuple[Fault, ...]
    """Everything that was wrong, over all turns, in their order."""
    turns: int
    """Turns the model wrote to their end."""
    finish: Finish
    """How the episode ended."""

    @property
    def well_formed(self) -> bool:
        """The grammar held strictly from the first turn to an answer."""
        return self.finish == "answered" and not self.faults

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types; a box is [x1, y1, x2, y2]."""
        return {
            "boxes": [box.as_list() for box in self.boxes],
            "images": list(self.images),
            "modes": list(self.modes),
            "answer": self.answer,
            "faults": [fault.value for fault in self.faults],
            "turns": self.turns,
            "finish": self.finish,
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> EpisodeRecord:
        """The inverse of `as_dict`."""
        return cls(
            boxes=tuple(Box(*box) for box in facts["boxes"]),
            images=tuple(facts["images"]),
            modes=tuple(facts["modes"]),
            answer=facts["answer"],
            faults=tuple(Fault(fault) for fault in facts["faults"]),
            turns=facts["turns"],
            finish=facts["finish"],
        )
