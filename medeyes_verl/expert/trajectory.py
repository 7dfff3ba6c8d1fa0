"""An expert trajectory: what an expert looked at, what it said, and what it answered.

Every source of off-policy data (scripts, GRN with CVS, the policy's own past successes, a user's files)
becomes this one form. Boxes are kept in pixels of the ORIGINAL picture, so that a trajectory does not
depend on a model's coordinate frame or resolution; `turn_texts` writes it in the frame of one policy,
through the one grammar, as that policy would have written it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medeyes_verl.gaze.crop import fitted_size
from medeyes_verl.gaze.geometry import Box, Size, to_model
from medeyes_verl.gaze.grammar import Turn, render_turn
from medeyes_verl.gaze.settings import EpisodeSettings


@dataclass(frozen=True, slots=True)
class ExpertStep:
    """One gaze: a thought, then a box."""

    reasoning: str
    box: Box
    """Pixels of the original picture, x right, y down, x2/y2 exclusive."""
    image: int = 1
    """Which of the question's pictures, from 1."""
    confidence: float | None = None
    """The expert's confidence in the region when it chose it, 0..1; None where it has none."""

    def __post_init__(self) -> None:
        box = self.box
        if not all(math.isfinite(side) for side in box.as_list()) or box.x2 <= box.x1 or box.y2 <= box.y1:
            raise ValueError(f"a step's box is empty, inverted or not finite: {box.as_list()}")
        if self.image < 1:
            raise ValueError(f"a step's image counts from 1, not {self.image}")
        if self.confidence is not None and not 0.0 <= self.confidence <= 1.0:
            raise ValueError(f"a step's confidence lies outside [0, 1]: {self.confidence}")

    def as_dict(self) -> dict[str, Any]:
        return {
            "reasoning": self.reasoning,
            "box": self.box.as_list(),
            "image": self.image,
            "confidence": self.confidence,
        }

    @classmethod
    def from_dict(cls, step: Mapping[str, Any]) -> ExpertStep:
        x1, y1, x2, y2 = (float(side) for side in step["box"])
        confidence = step.get("confidence")
        return cls(
            reasoning=_text(step, "reasoning"),
            box=Box(x1, y1, x2, y2),
            image=int(step.get("image", 1)),
            confidence=None if confidence is None else float(confidence),
        )


@dataclass(frozen=True, slots=True)
class Trajectory:
    """τ = [n₁ … n_T, a]: the steps, then the answer (method of the paper, section on the episode)."""

    expert_id: str
    """The question's key in the store."""
    steps: tuple[ExpertStep, ...]
    conclusion: str
    """The reasoning of the last turn, the one that answers."""
    answer: str
    correct: bool
    """Whether the answer is right. Wrong ones are kept, and dropped by default at training time."""
    source: str
    """Where it comes from: "scripted", "sweep", "grn_cvs", "replay", …"""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types, without the expert_id: the store keeps that once a question."""
        return {
            "steps": [step.as_dict() for step in self.steps],
            "conclusion": self.conclusion,
            "answer": self.answer,
            "correct": self.correct,
            "source": self.source,
        }

    @classmethod
    def from_dict(cls, expert_id: str, trajectory: Mapping[str, Any]) -> Trajectory:
        """The inverse of `as_dict`. Raises ValueError naming the question when a field is missing or wrong."""
        try:
            correct = trajectory["correct"]
            if not isinstance(correct, bool):
                raise TypeError(f"correct must be true or false, not {correct!r}")
            return cls(
                expert_id=expert_id,
                steps=tuple(ExpertStep.from_dict(step) for step in trajectory["steps"]),
                conclusion=_text(trajectory, "conclusion"),
                answer=_text(trajectory, "answer"),
                correct=correct,
                source=_text(trajectory, "source"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a trajectory, for question {expert_id!r}: {error!r}") from error


def turn_texts(trajectory: Trajectory, settings: EpisodeSettings, original_sizes: Sequence[Size]) -> list[str]:
    """The assistant's turns, one text a step and one for the answer, in the frame of `settings`.

    `original_sizes` are the sizes of the question's pictures, in order. Raises ValueError naming the
    question where a turn cannot be written so that the grammar reads it back.
    """
    texts = []
    for step in trajectory.steps:
        if step.image > len(original_sizes):
            raise ValueError(
                f"question {trajectory.expert_id!r}: a step looks at picture {step.image} of {len(original_sizes)}"
            )
        original = original_sizes[step.image - 1]
        view = fitted_size(original, settings.view)
        box = to_model(step.box, settings.frame, view, original)
        texts.append(_render(trajectory, Turn(step.reasoning, box=box, image=step.image)))
    texts.append(_render(trajectory, Turn(trajectory.conclusion, answer=trajectory.answer)))
    return texts


def _render(trajectory: Trajectory, turn: Turn) -> str:
    try:
        return render_turn(turn)
    except ValueError as error:
        raise ValueError(f"question {trajectory.expert_id!r}: {error}") from error


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} must be a string, not {value!r}")
    return value
