"""MMMU Health & Medicine: five subjects of MMMU, from a Hugging Face snapshot (a folder a subject, or all
in one).

Questions hold up to seven pictures, in their text and in their options, as `<image 3>`; a row lists them in
order and its text says `[image 1]`, `[image 2]`, … The dev split becomes train.parquet, validation
val.parquet. The authors released the answers of the test split on 2026-02-12: newer snapshots hold them; for an
older one, whose test answers are "?", give their `answer_dict_test.json` with `--answers`, or put it into the source
folder or its `mmmu/`. Questions whose answer is still "?" are left out, counted and named.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from medeyes_verl.data.cells import as_list, fault_of, is_missing, tidy
from medeyes_verl.data.command import Benchmark, make_app
from medeyes_verl.data.image_source import SourceError
from medeyes_verl.data.mmmu_answers import NAMES, Answer, answer_files, read_answers
from medeyes_verl.data.record import Record, scored_as, unusable
from medeyes_verl.data.row import LETTERS
from medeyes_verl.data.shards import SPLIT_NAMES, Table, tables_in
from medeyes_verl.data.tables import TableRow, table_rows

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


def read(
    folder: Path,
    *,
    answers: Annotated[
        Path | None, typer.Option(help="The authors' answer_dict_test.json, for rows whose answer is withheld.")
    ] = None,
) -> Iterator[Record]:
    """The questions of the five subjects, wherever in the folder they are."""
    known = read_answers(answer_files(folder, answers))
    for row in table_rows(_tables(folder), _COLUMNS, PICTURES):
        name = tidy(row.cells["id"])[0]
        if not name:
            raise SourceError(f"{row.place} has no id; download the file again")
        yield _record(row, name, known.get(name))


def answers_without_rows(folder: Path, *, answers: Path | None) -> dict[str, list[str]]:
    """What an answer file says of questions of the five subjects that the source does not hold."""
    known = read_answers(answer_files(folder, answers))
    if not known:
        return {}
    ids = {tidy(row.cells["id"])[0] for row in table_rows(_tables(folder), ("id",), ())}
    if answers is not None and not ids & set(known):
        raise SourceError(
            f"{answers} has no answer to any of the {len(ids)} questions; its ids are as {next(iter(known))}"
        )
    lost = [name for name in known if _of_health(name) and name not in ids]
    return {"answer without a row in the source": lost} if lost else {}


def _tables(folder: Path) -> list[Table]:
    return tables_in(folder, {**SPLIT_NAMES, "dev": "train"}, folders_are_subsets=True, besides=NAMES)


def _of_health(name: str) -> bool:
    match = _ID.fullmatch(name)
    return match is not None and match[1] in SUBJECTS


def _record(row: TableRow, name: str, known: Answer | None) -> Record:
    split, cells, pictures, place = row
    places = {picture.column.removeprefix("image_"): place for place, picture in enumerate(pictures, 1)}
    where = f"{name} ({place})"
    listed = _listed(cells["options"], where)
    faulty = next((f"option is {fault}" for option in listed if (fault := fault_of(option))), "")
    options = tuple(_text(option, places) for option in listed)
    accepted = _accepted(cells["answer"])
    if known is not None:
        if accepted != [WITHHELD] and accepted and tuple(accepted) != known.accepted:
            raise SourceError(
                f"{where} has the answer {accepted}, the answer file {list(known.accepted)}; give one of them"
            )
        accepted = list(known.accepted)
    answer, notes = tidy(accepted[0] if accepted else None)
    return Record(
        split=split,
        question=_text(cells["question"], places),
        answer=answer,
        question_type="multiple_choice" if options else scored_as(answer),
        pictures=pictures,
        id=name,
        options=options,
        notes=(*notes, *(["the first of several accepted answers"] if len(accepted) > 1 else [])),
        left_out=faulty or _left_out(row, answer, options, known) if _of_health(name) else "other subject",
        place=place,
    )


def _accepted(cell: object) -> list[str]:
    """The accepted answers of a cell, without those that are no text; a list may be written as Python text."""
    return [text for item in as_list(cell) or [cell] if (text := tidy(item)[0])]


def _left_out(row: TableRow, answer: str, options: tuple[str, ...], known: Answer | None) -> str:
    is_choice = row.cells["question_type"] == "multiple-choice"
    if fault := unusable(question=row.cells["question"]):
        return fault
    if not answer:
        return "empty answer"
    if known is not None and known.choice not in (None, bool(options)):
        return "another question type in the answer file"
    if is_choice and not options:
        return "multiple choice without options"
    if not all(options):
        return "empty option"
    if answer == WITHHELD:
        return "answer withheld"
    if not row.pictures:
        return "no picture"
    if len(options) == 1:
        return "a single option"
    if options and answer not in tuple(LETTERS[: len(options)]):
        return f"answer {answer!r} is no letter of its options"
    return ""


def _text(value: object, places: Mapping[str, int]) -> str:
    """Text with its placeholders numbered as the row lists the pictures."""
    return _PLACEHOLDER.sub(lambda match: f"[image {places.get(match[1], match[1])}]", tidy(value, lines=True)[0])


def _listed(value: object, name: str) -> list[object]:
    """A list that the source writes as Python text; literals only, nothing is evaluated. A missing one is empty."""
    if is_missing(value):
        return []
    if isinstance(value, str):
        try:
            if len(value) > MAX_LIST_CHARACTERS:
                raise ValueError(f"longer than {MAX_LIST_CHARACTERS} characters")
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            raise SourceError(
                f"{name}: {str(value)[:80]!r} is not a list ({error}); download the file again"
            ) from error
    if not isinstance(value, list):
        raise SourceError(f"{name}: {str(value)[:80]!r} is not a list; download the file again")
    return value


def _hub_files(answers: Path | None) -> tuple[str, ...]:
    return tuple(f"{subject}/*.parquet" for subject in SUBJECTS)


app = make_app(Benchmark("mmmu_health", read, "MMMU/MMMU", _hub_files, _tables, answers_without_rows))
