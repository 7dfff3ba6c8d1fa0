"""What a benchmark's reader yields: one question as its source holds it, cleaned, and where its pictures lie.

A reader only says how to read its source. It names each picture without reading it, so that a source is
walked through in seconds and its pictures are read later, by many processes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from medeyes_verl.data.picture_source import PictureSource
from medeyes_verl.data.row import AnswerType, QuestionType, Region, Split

_LOST_APOSTROPHE = re.compile("(?<=[A-Za-z])\ufffd(?=[A-Za-z])")


@dataclass(frozen=True, slots=True)
class Record:
    """One question of a source, cleaned.

    Attributes:
        split: the split it belongs to by its benchmark's own rule.
        question, answer: see `Row`; the answer of a multiple-choice question is a letter.
        question_type: how it is scored.
        pictures: where they lie.
        id: the benchmark's own identifier, or "" where it has none (one is then made from the content).
        notes: what was tidied, one short phrase each; counted in the summary.
        left_out: why this question cannot become a row, or "" if it can; counted and named in the summary.
    The others are those of `Row`.
    """

    split: Split
    question: str
    answer: str
    question_type: QuestionType
    pictures: tuple[PictureSource, ...]
    id: str = ""
    options: tuple[str, ...] = ()
    answer_type: AnswerType | None = None
    organ: str | None = None
    modality: str | None = None
    location: str | None = None
    regions: tuple[Region, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: str = ""


def tidy(value: object, *, lines: bool = False) -> tuple[str, tuple[str, ...]]:
    """A cell as text, and what had to be done to it. With `lines`, line breaks stay."""
    notes = []
    if not isinstance(value, str):
        notes.append("a value that is no text")
    text = "" if value is None else str(value)
    tidied = re.sub(r"[^\S\n]+" if lines else r"\s+", " ", text).strip()
    if tidied != text:
        notes.append("white space tidied")
    restored = _LOST_APOSTROPHE.sub("'", tidied)
    if restored != tidied:
        notes.append("lost apostrophe (U+FFFD) restored")
    return restored, tuple(notes)


def scored_as(answer: str, answer_type: AnswerType | None = None) -> QuestionType:
    """Closed where the benchmark says so or the answer is yes or no, else open."""
    return "closed" if answer_type == "CLOSED" or answer.lower().strip(" .") in ("yes", "no") else "open"


def _label(value: object) -> str | None:
    return None if value is None else tidy(value)[0]


def make_record(
    split: Split,
    question: object,
    answer: object,
    pictures: tuple[PictureSource, ...],
    *,
    id: str = "",
    answer_type: AnswerType | None = None,
    organ: object = None,
    modality: object = None,
    location: object = None,
    regions: tuple[Region, ...] = (),
    left_out: str = "",
) -> Record:
    """A closed or open question from the raw cells of a source."""
    question_text, question_notes = tidy(question, lines=True)
    answer_text, answer_notes = tidy(answer)
    if not left_out and not (question_text and answer_text):
        left_out = "empty answer" if question_text else "empty question"
    return Record(
        split=split,
        question=question_text,
        answer=answer_text,
        question_type=scored_as(answer_text, answer_type),
        pictures=pictures,
        id=id,
        answer_type=answer_type,
        organ=_label(organ),
        modality=_label(modality),
        location=_label(location),
        regions=regions,
        notes=tuple(f"question: {note}" for note in question_notes) + tuple(f"answer: {note}" for note in answer_notes),
        left_out=left_out,
    )
