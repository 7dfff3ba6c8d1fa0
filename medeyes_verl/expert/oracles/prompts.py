"""What an endpoint is asked, and the JSON it is asked for."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

from medeyes_verl.expert.oracles.protocol import MAX_CANDIDATES, Finding
from medeyes_verl.expert.question import Question
from medeyes_verl.gaze.geometry import Frame, Size

SYSTEM = "You are an experienced radiologist. You answer with one JSON object and nothing else."

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


def locate_prompt(question: Question, sizes: Sequence[Size], frame: Frame, findings: Sequence[Finding]) -> str:
    """Ask for all abnormal regions."""
    lines = [
        f"Question about the picture{'s' if len(sizes) > 1 else ''}: {question.text}",
        f"List up to {MAX_CANDIDATES} regions that look abnormal or may hold the answer, each with your confidence, "
        "from 0 to 1, that it does. An empty list is a valid reply.",
    ]
    examined = [finding.assessment for finding in findings if finding.assessment and finding.assessment.label]
    if examined:
        seen = "; ".join(f"{each.label} ({each.confidence:.2f})" for each in examined)
        lines.append(f"Looked at before: {seen}. Look for other regions as well.")
    lines += [
        f"bbox_2d is [x1, y1, x2, y2], {_frame_words(sizes, frame)}.",
        'Reply: {"thought": "<one sentence>", "regions": [{"image": 1, "bbox_2d": [x1, y1, x2, y2], '
        '"label": "<what it is>", "confidence": <0..1>}]}',
    ]
    return "\n".join(lines)


def assess_prompt(question: Question, label: str | None, size: Size, frame: Frame) -> str:
    """Ask about one region, shown as a crop."""
    return "\n".join(
        [
            f"This is an enlarged part of a medical picture{f' that may show: {label}' if label else ''}.",
            f"Question about the whole picture: {question.text}",
            "What does this part show, and how confident are you, from 0 to 1, that it is what the question needs? "
            'If there is nothing to see, say so with a low confidence and an empty "label".',
            f"You may narrow the region by bbox_2d, [x1, y1, x2, y2], {_frame_words([size], frame)}.",
            'Reply: {"thought": "<one sentence>", "label": "<what it shows>", "confidence": <0..1>}',
        ]
    )


def answer_prompt(question: Question, crops: int) -> str:
    """Ask for the answer, after the picture and the crops that were looked at."""
    kinds = {
        "closed": "Answer with yes or no (or, if the question offers alternatives, with one of them).",
        "multiple_choice": "Answer with the letter of one option.",
        "open": "Answer with one word or a few, as briefly as you can.",
    }
    options = [f"{letter}. {text}" for letter, text in zip(string.ascii_uppercase, question.options, strict=False)]
    shown = f"The last {crops} pictures are enlarged parts of it." if crops else ""
    return "\n".join(
        line
        for line in (
            f"Question about the picture: {question.text}",
            *options,
            shown,
            kinds[question.question_type],
            'Reply: {"thought": "<one or two sentences>", "answer": "<the answer>"}',
        )
        if line
    )


def _frame_words(sizes: Sequence[Size], frame: Frame) -> str:
    if frame == "relative_1000":
        return "in thousandths of each side (0 to 1000)"
    shown = ", ".join(f"{size.width} × {size.height}" for size in sizes)
    return f"in pixels of the picture as you see it ({shown})"
