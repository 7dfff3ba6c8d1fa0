"""What a benchmark's reader yields: one question as its source holds it, cleaned, and where its pictures lie.

A reader only says how to read its source. It names each picture without reading it, so that a source is
walked through in seconds and its pictures are read later, by many processes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast, get_args

from medeyes_verl.data.cells import fault_of, label, tidy
from medeyes_verl.data.image_source import PictureSource, SourceError
from medeyes_verl.data.row import AnswerType, QuestionType, Region, Split

_NAMED_CHARACTERS = 80


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
        place: file and row or entry in the source, to name the question by.
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
    place: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """What a summary calls this question: its identifier, else its words, and its place in the source."""
        words = self.id or self.question[:_NAMED_CHARACTERS] or "question"
        return f"{words} ({self.place})" if self.place else words


def scored_as(answer: str, answer_type: AnswerType | None = None) -> QuestionType:
    """Closed where the benchmark says so or the answer is yes or no, else open."""
    return "closed" if answer_type == "CLOSED" or answer.lower().strip(" .") in ("yes", "no") else "open"


def make_record(
    split: Split,
    question: object,
    answer: object,
    pictures: tuple[PictureSource, ...],
    *,
    id: object = "",
    answer_type: AnswerType | None = None,
    organ: object = None,
    modality: object = None,
    location: object = None,
    regions: tuple[Region, ...] = (),
    left_out: str = "",
    place: str = "",
) -> Record:
    """A closed or open question from the raw cells of a source."""
    question_text, question_notes = tidy(question, lines=True)
    answer_text, answer_notes = tidy(answer)
    left_out = left_out or unusable(question=question) or unusable(answer=answer)
    return Record(
        split=split,
        question=question_text,
        answer=answer_text,
        question_type=scored_as(answer_text, answer_type),
        pictures=pictures,
        id=tidy(id)[0],
        answer_type=answer_type,
        organ=label(organ),
        modality=label(modality),
        location=label(location),
        regions=regions,
        notes=tuple(f"question: {note}" for note in question_notes) + tuple(f"answer: {note}" for note in answer_notes),
        left_out=left_out,
        place=place,
    )


def read_answer_type(value: object, place: str) -> AnswerType | None:
    """A benchmark's own label, None where it gives none; SourceError with the place for one that is not known."""
    text = tidy(value)[0].upper()
    if text not in ("", *get_args(AnswerType)):
        raise SourceError(f"{place}: answer_type is {value!r}; known are {', '.join(get_args(AnswerType))}")
    return cast(AnswerType, text) if text else None


def unusable(**cells: object) -> str:
    """Why a question cannot be made of these cells, with the first bad one's key; "" when all hold one text."""
    for key, value in cells.items():
        if fault := fault_of(value):
            return f"{key} is {fault}"
        if not tidy(value)[0]:
            return f"empty {key}"
    return ""
