"""VQA-RAD: radiology questions, from the authors' archive or from a Hugging Face snapshot.

The archive is `VQA_RAD Dataset Public.json` and `VQA_RAD Image Folder/`. Its official split is in
`phrase_type`: freeform and para are train, test_freeform and test_para are test. 202 of the 203 test images
are also in train; the summary says so, `--drop-leaks` removes those training rows. `--drop-duplicates`
gives the 1,793 training rows that others publish: three questions occur twice, one is also in test.

A snapshot has no answer types: of the 272 closed test questions of the archive it can only tell the 251
that are answered by yes or no.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from medeyes_verl.data.command import Benchmark, make_app
from medeyes_verl.data.picture_source import FilePicture, SourceError, inside
from medeyes_verl.data.record import Record, make_record
from medeyes_verl.data.row import AnswerType, Split
from medeyes_verl.data.tables import table_rows

QUESTIONS = "VQA_RAD Dataset Public.json"
IMAGES = "VQA_RAD Image Folder"
_SPLITS: dict[str, Split] = {"freeform": "train", "para": "train", "test_freeform": "test", "test_para": "test"}
_KEYS = ("qid", "phrase_type", "image_name", "image_organ", "question", "answer", "answer_type")


def read(folder: Path) -> Iterator[Record]:
    """The questions of a folder in either form."""
    if (folder / QUESTIONS).is_file():
        yield from _archive(folder)
    else:
        for split, row, pictures in table_rows(folder, ("question", "answer"), ("image",)):
            yield make_record(split, row["question"], row["answer"], pictures)


def _archive(folder: Path) -> Iterator[Record]:
    path = folder / QUESTIONS
    for number, entry in enumerate(_entries(path)):
        lacking = [key for key in _KEYS if key not in entry]
        if lacking:
            raise SourceError(f"{path}: entry {number} lacks {', '.join(lacking)}")
        answer_type = str(entry["answer_type"]).strip()
        if entry["phrase_type"] not in _SPLITS or answer_type not in ("CLOSED", "OPEN"):
            raise SourceError(
                f"{path}: entry {number} has phrase_type {entry['phrase_type']!r} and answer_type {answer_type!r}; "
                f"known are {', '.join(_SPLITS)} and CLOSED, OPEN"
            )
        yield make_record(
            _SPLITS[entry["phrase_type"]],
            entry["question"],
            entry["answer"],
            (FilePicture(str(folder / IMAGES / inside(entry["image_name"]))),),
            id=str(entry["qid"]),
            answer_type=cast(AnswerType, answer_type),
            organ=entry["image_organ"],
        )


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads(path.read_text("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SourceError(f"{path} is no readable JSON ({error}); download it again") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SourceError(f"{path} is not a list of questions")
    return entries


app = make_app(Benchmark("vqa_rad", read, "flaviagiammarino/vqa-rad"))

if __name__ == "__main__":
    app()
