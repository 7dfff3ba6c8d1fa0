"""VQA-RAD: radiology questions, from the authors' archive or from a Hugging Face snapshot.

The archive is `VQA_RAD Dataset Public.json` and `VQA_RAD Image Folder/`. Its official split is in
`phrase_type`: freeform and para are train, test_freeform and test_para are test. 202 of the 203 test images
are also in train; the summary says so, `--drop-leaks` removes those training rows. `--drop-duplicates`
gives the 1,793 training rows that others publish: three questions occur twice, one is also in test.

A snapshot has no answer types: of the 272 closed test questions of the archive it can only tell the 251
that are answered by yes or no.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

from medeyes_verl.data.command import Benchmark, make_app
from medeyes_verl.data.picture_source import SourceError
from medeyes_verl.data.places import in_folder, read_json_list
from medeyes_verl.data.record import Record, make_record
from medeyes_verl.data.row import AnswerType, Split
from medeyes_verl.data.tables import simple_records

QUESTIONS = "VQA_RAD Dataset Public.json"
IMAGES = "VQA_RAD Image Folder"
_SPLITS: dict[str, Split] = {"freeform": "train", "para": "train", "test_freeform": "test", "test_para": "test"}
_KEYS = ("qid", "phrase_type", "image_name", "image_organ", "question", "answer", "answer_type")


def read(folder: Path) -> Iterator[Record]:
    """The questions of a folder in either form."""
    if (folder / QUESTIONS).is_file():
        yield from _archive(folder)
    else:
        yield from simple_records(folder)


def _archive(folder: Path) -> Iterator[Record]:
    path, picture = folder / QUESTIONS, in_folder(folder / IMAGES)
    for number, entry in enumerate(read_json_list(path, _KEYS)):
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
            (picture(str(entry["image_name"])),),
            id=str(entry["qid"]),
            answer_type=cast(AnswerType, answer_type),
            organ=entry["image_organ"],
        )


app = make_app(Benchmark("vqa_rad", read, "flaviagiammarino/vqa-rad"))
