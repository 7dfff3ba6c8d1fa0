"""PMC-VQA: multiple-choice questions on figures of papers, versions 1 and 2, from CSV and zip or from parquet.

Version 1 is `train.csv`, `test.csv`, `test_clean.csv` and `images.zip` (19 GB, read in place); version 2 is
`train_2.csv`, `test_2.csv` and `images_2.zip`. The pictures may also lie unpacked in `images/`, `images_2/`
or `figures/`. Headers have changed over time ("Anwser", with or without a column for the letter), so files
are read by header, and the right option is found from whatever says which it is.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from medeyes_verl.data.cells import fault_of, is_missing, tidy
from medeyes_verl.data.command import Benchmark, make_app
from medeyes_verl.data.image_source import PictureSource, SourceError, check_file
from medeyes_verl.data.places import place_of, refuse_second_form
from medeyes_verl.data.record import Record
from medeyes_verl.data.row import Split
from medeyes_verl.data.shards import tables_in
from medeyes_verl.data.tables import table_rows

Version = Literal["auto", "1", "2"]
LETTERS = "ABCD"
_CHOICES = tuple(f"choice {letter.lower()}" for letter in LETTERS)
_ANSWERS = ("answer label", "answer")
_NEEDED = ("figure path", "question", *_CHOICES)
TOO_MANY = "cells beyond the header"
_PREFIX = re.compile(r"\s*([A-Da-d])\s*:")


def read(
    folder: Path,
    *,
    version: Annotated[Version, typer.Option(help="Which version to take; auto: 2 if it is there, else 1.")] = "auto",
    clean_test: Annotated[
        bool, typer.Option("--clean-test", help="Version 1: take test_clean.csv for the test split.")
    ] = False,
) -> Iterator[Record]:
    """The questions of a folder in either form."""
    if version == "auto":
        version = "2" if any(folder.glob("t*_2.csv")) and not clean_test else "1"
    suffix = "_2" if version == "2" else ""
    files: dict[str, Split] = {f"train{suffix}.csv": "train", f"test{suffix}.csv": "test"}
    if clean_test:
        if version == "2":
            raise SourceError("only version 1 has a clean test split; drop --version 2 or --clean-test")
        files = {"train.csv": "train", "test_clean.csv": "test"}
    present = {name: split for name, split in files.items() if (folder / name).is_file()}
    picture = place_of(folder, (f"images{suffix}", "figures"), (f"images{suffix}.zip",))
    for name, split in present.items():
        refuse_second_form(folder / name, tables_in(folder))
        for place, cells in _csv_rows(folder / name):
            figure = tidy(cells["figure path"])[0]
            yield _record(split, cells, (picture(figure),) if figure else (), place)
    if not present:
        for row in table_rows(tables_in(folder), ("question", *_CHOICES, *_ANSWERS), ("image",)):
            yield _record(row.split, row.cells, row.pictures, row.place)


def _csv_rows(path: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Place and cells of each row by headers in lower case; a lacking cell is None, those too many are TOO_MANY."""
    with check_file(path).open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey=TOO_MANY, restval=None)
        try:
            reader.fieldnames = [_header(name) for name in reader.fieldnames or ()]
            lacking = [name for name in _NEEDED if name not in reader.fieldnames]
            if lacking or not set(_ANSWERS) & set(reader.fieldnames):
                raise SourceError(
                    f"{path} lacks the columns {', '.join(lacking) or ' or '.join(_ANSWERS)}; "
                    f"it has {', '.join(reader.fieldnames)}"
                )
            for row in reader:
                yield f"{path.name}: line {reader.line_num}", row
        except (csv.Error, UnicodeDecodeError) as error:
            raise SourceError(f"{path}, line {reader.line_num}: not readable as CSV ({error})") from error


def _header(name: str) -> str:
    return name.strip().lower().replace("_", " ").replace("anwser", "answer")


def _record(split: Split, row: Mapping[str, object], pictures: tuple[PictureSource, ...], place: str) -> Record:
    question, notes = tidy(row["question"], lines=True)
    options = _options([tidy(row[name])[0] for name in _CHOICES])
    letter = _right_letter(row, options)
    left_out = ""
    if TOO_MANY in row:
        left_out = "row with more cells than columns"
    elif any(is_missing(row[name]) for name in _CHOICES):
        left_out = "incomplete row"
    elif fault := next(
        (f"{name} is {fault}" for name in ("question", *_CHOICES) if (fault := fault_of(row[name]))), ""
    ):
        left_out = fault
    elif not all(options):
        left_out = "empty option"
    elif not question:
        left_out = "empty question"
    elif not pictures:
        left_out = "no image"
    elif letter is None:
        left_out = "no option is marked as right"
    return Record(
        split=split,
        question=question,
        answer=letter or "",
        question_type="multiple_choice",
        pictures=pictures,
        options=options,
        notes=tuple(f"question: {note}" for note in notes),
        left_out=left_out,
        place=place,
    )


def _options(cells: list[str]) -> tuple[str, ...]:
    """The options without their letters, which some files repeat before each ("A:", " A:").

    A single one that begins with its letter ("D: dimer") is a text that happens to.
    """
    prefixes = [_PREFIX.match(cell) for cell in cells]
    own = [match is not None and match[1].upper() == letter for match, letter in zip(prefixes, LETTERS, strict=True)]
    if sum(own) < 2:
        return tuple(cells)
    return tuple(
        cell[match.end() :].strip() if match and is_own else cell
        for cell, match, is_own in zip(cells, prefixes, own, strict=True)
    )


def _right_letter(row: Mapping[str, object], options: tuple[str, ...]) -> str | None:
    """The letter a row marks: in a column of its own, in the answer's, as its prefix, or by the option's text."""
    for name in _ANSWERS:
        cell = tidy(row.get(name))[0]
        if cell.upper() in LETTERS and len(cell) == 1:
            return cell.upper()
        if prefix := _PREFIX.match(cell):
            return prefix[1].upper()
        if options.count(cell) == 1 and cell:
            return LETTERS[options.index(cell)]
    return None


def _hub_files(version: Version, clean_test: bool) -> tuple[str, ...]:
    """The hub holds both versions, 21 GB of pictures; what is not asked for is not downloaded."""
    return ("train.csv", "test*.csv", "images.zip") if version == "1" or clean_test else ("*_2.csv", "images_2.zip")


app = make_app(Benchmark("pmc_vqa", read, "RadGenome/PMC-VQA", _hub_files))
