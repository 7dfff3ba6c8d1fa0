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

from medeyes_verl.data.cells import tidy
from medeyes_verl.data.command import Benchmark, make_app
from medeyes_verl.data.image_source import SourceError
from medeyes_verl.data.places import in_folder, read_json_list, refuse_second_form
from medeyes_verl.data.record import Record, make_record, read_answer_type
from medeyes_verl.data.row import Split
from medeyes_verl.data.shards import tables_in
from medeyes_verl.data.tables import simple_record, table_rows

QUESTIONS = "VQA_RAD Dataset Public.json"
IMAGES = "VQA_RAD Image Folder"
_SPLITS: dict[str, Split] = {"freeform": "train", "para": "train", "test_freeform": "test", "test_para": "test"}
_KEYS = ("qid", "phrase_type", "image_name", "image_organ", "question", "answer", "answer_type")


def read(folder: Path) -> Iterator[Record]:
    """The questions of a folder in either form."""
    tables = tables_in(folder)
    if (folder / QUESTIONS).is_file():
        refuse_second_form(folder / QUESTIONS, tables)
        yield from _archive(folder)
    for row in table_rows(tables, ("question", "answer"), ("image",)):
        phrase_type = row.labelled("phrase_type")
        yield simple_record(row if phrase_type is None else row._replace(split=_split(phrase_type, row.place)))


def _archive(folder: Path) -> Iterator[Record]:
    path, picture = folder / QUESTIONS, in_folder(folder / IMAGES)
    for number, entry in enumerate(read_json_list(path, _KEYS)):
        place = f"{path.name}: entry {number}"
        image = tidy(entry["image_name"])[0]
        yield make_record(
            _split(entry["phrase_type"], place),
            entry["question"],
            entry["answer"],
            (picture(image),) if image else (),
            id=entry["qid"],
            answer_type=read_answer_type(entry["answer_type"], place),
            organ=entry["image_organ"],
            left_out="" if image else "no image",
            place=place,
        )


def _split(phrase_type: object, place: str) -> Split:
    if phrase_type not in _SPLITS:
        raise SourceError(f"{place} has phrase_type {phrase_type!r}; known are {', '.join(_SPLITS)}")
    return _SPLITS[str(phrase_type)]


app = make_app(Benchmark("vqa_rad", read, "flaviagiammarino/vqa-rad"))
