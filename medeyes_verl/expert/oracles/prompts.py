"""What an endpoint is asked (the wording: prompts/default/oracle_*.j2), and the JSON it is asked for."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

from medeyes_verl.expert.oracles.protocol import MAX_CANDIDATES, Finding
from medeyes_verl.expert.question import Question
from medeyes_verl.gaze.geometry import Frame, Size
from medeyes_verl.prompts.templates import text

# Everything is bounded, so that a model cannot lose itself in a number or a sentence. Boxes are not bounded by the
# picture: a model that writes in another frame must be seen to do so.
_SIDE = {"type": "integer", "minimum": 0, "maximum": 9999}
_BOX = {"type": "array", "items": _SIDE, "minItems": 4, "maxItems": 4}
_THOUGHT = {"type": "string", "maxLength": 400}
_TEXT = {"type": "string", "maxLength": 100}
_CONFIDENCE = {"type": "number", "minimum": 0, "maximum": 1}


def _object(required: Sequence[str] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required or properties)}


LOCATE_SCHEMA = _object(
    thought=_THOUGHT,
    regions={
        "type": "array",
        "maxItems": MAX_CANDIDATES,
        "items": _object(image=_SIDE, bbox_2d=_BOX, label=_TEXT, confidence=_CONFIDENCE),
    },
)
ASSESS_SCHEMA = _object(
    ("thought", "label", "confidence"), thought=_THOUGHT, label=_TEXT, confidence=_CONFIDENCE, bbox_2d=_BOX
)
ANSWER_SCHEMA = _object(thought=_THOUGHT, answer=_TEXT)


def system_text(folder: str | None) -> str:
    """What an endpoint is told before any question; `folder` holds the user's templates."""
    return text(folder, "oracle_system.j2").render()


def locate_prompt(
    question: Question,
    sizes: Sequence[Size],
    frame: Frame,
    findings: Sequence[Finding],
    folder: str | None = None,
) -> str:
    """Ask for all abnormal regions."""
    examined = [finding.assessment for finding in findings if finding.assessment and finding.assessment.label]
    return text(folder, "oracle_locate.j2").render(
        question=question.text,
        max_regions=MAX_CANDIDATES,
        frame=frame,
        sizes=list(sizes),
        seen=[{"label": each.label, "confidence": f"{each.confidence:.2f}"} for each in examined],
    )


def assess_prompt(question: Question, label: str | None, size: Size, frame: Frame, folder: str | None = None) -> str:
    """Ask about one region, shown as a crop."""
    return text(folder, "oracle_assess.j2").render(question=question.text, label=label, size=size, frame=frame)


def answer_prompt(question: Question, crops: int, folder: str | None = None) -> str:
    """Ask for the answer, after the picture and the crops that were looked at."""
    options = [f"{letter}. {option}" for letter, option in zip(string.ascii_uppercase, question.options, strict=False)]
    return text(folder, "oracle_answer.j2").render(
        question=question.text, question_type=question.question_type, options=options, crops=crops
    )
