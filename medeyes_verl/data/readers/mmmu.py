"""MMMU Health & Medicine: five subjects of MMMU, from a Hugging Face snapshot (a folder a subject, or all
in one).

Questions hold up to seven pictures, in their text and in their options, as `<image 3>`; a row lists them in
order and its text says `[image 1]`, `[image 2]`, … The dev split becomes train.parquet, validation
val.parquet. The answers of the official test split are withheld ("?"), so its questions are left out:
report figures on val, and say so.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medeyes_verl.data.command import Benchmark, make_app
from medeyes_verl.data.picture_source import CellPicture, SourceError
from medeyes_verl.data.record import Record, scored_as, tidy
from medeyes_verl.data.row import LETTERS, Split
from medeyes_verl.data.tables import table_rows

SUBJECTS = (
    "Basic_Medical_Science",
    "Clinical_Medicine",
    "Diagnostics_and_Laboratory_Medicine",
    "Pharmacy",
    "Public_Health",
)
PICTURES = tuple(f"image_{number}" for number in range(1, 8))
WITHHELD = "?"
MAX_LIST_CHARACTERS = 20_000
_COLUMNS = ("id", "question", "options", "answer", "question_type")
_PLACEHOLDER = re.compile(r"<image (\d)>")
_ID = re.compile(r"[a-z]+_(.+)_\d+")


def read(folder: Path) -> Iterator[Record]:
    """The questions of the five subjects, wherever in the folder they are."""
    for split, row, pictures in table_rows(folder, _COLUMNS, PICTURES):
        match = _ID.fullmatch(row["id"])
        yield _record(split, row, pictures, of_health=match is not None and match[1] in SUBJECTS)


def _record(split: Split, row: Mapping[str, Any], pictures: tuple[CellPicture, ...], *, of_health: bool) -> Record:
    places = {picture.column.removeprefix("image_"): place for place, picture in enumerate(pictures, 1)}
    options = tuple(_text(option, places) for option in _listed(row["options"], row["id"]))
    answers = _listed(row["answer"], row["id"]) if row["answer"].startswith("[") else [row["answer"]]
    answer, notes = tidy(answers[0])
    return Record(
        split=split,
        question=_text(row["question"], places),
        answer=answer,
        question_type="multiple_choice" if options else scored_as(answer),
        pictures=pictures,
        id=row["id"],
        options=options,
        notes=(*notes, *(["the first of several accepted answers"] if len(answers) > 1 else [])),
        left_out=_left_out(answer, options, pictures) if of_health else "other subject",
    )


def _left_out(answer: str, options: tuple[str, ...], pictures: tuple[CellPicture, ...]) -> str:
    if answer == WITHHELD:
        return "answer withheld"
    if not pictures:
        return "no picture"
    if len(options) == 1:
        return "a single option"
    if options and answer not in LETTERS[: len(options)]:
        return f"answer {answer!r} is no letter of its options"
    return ""


def _text(value: object, places: Mapping[str, int]) -> str:
    """Text with its placeholders numbered as the row lists the pictures."""
    return _PLACEHOLDER.sub(lambda match: f"[image {places.get(match[1], match[1])}]", tidy(value, lines=True)[0])


def _listed(value: object, name: str) -> list[str]:
    """A list that the source writes as Python text; literals only, nothing is evaluated."""
    if isinstance(value, str):
        try:
            if len(value) > MAX_LIST_CHARACTERS:
                raise ValueError(f"longer than {MAX_LIST_CHARACTERS} characters")
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            raise SourceError(f"{name}: {str(value)[:80]!r} is not a list ({error})") from error
    if not isinstance(value, list):
        raise SourceError(f"{name}: {str(value)[:80]!r} is not a list")
    return [str(item) for item in value]


def _hub_files() -> tuple[str, ...]:
    return tuple(f"{subject}/*.parquet" for subject in SUBJECTS)


app = make_app(Benchmark("mmmu_health", read, "MMMU/MMMU", _hub_files))
