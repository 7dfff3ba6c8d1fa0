"""SLAKE: radiology questions in English and Chinese, from the authors' archive or from a snapshot.

The archive is `train.json`, `validate.json`, `test.json` and `imgs/` (or `imgs.zip`, as BoKelvin/SLAKE has
it); a snapshot may also be parquet with the pictures in its cells (mdwiratathya/SLAKE-vqa-english).

The English splits share no picture, but hundreds of Chinese training questions show English test pictures.
So English alone is taken unless `--language` says otherwise; with more than one language look at the leaks,
or `--drop-leaks`. The boxes of `detection.json` become the regions of a row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import typer

from medeyes_verl.data.cells import tidy
from medeyes_verl.data.command import Benchmark, make_app
from medeyes_verl.data.image_source import FilePicture, SourceError, ZipPicture
from medeyes_verl.data.places import Place, only_place, place_of, read_json_list, refuse_second_form
from medeyes_verl.data.record import Record, make_record, read_answer_type
from medeyes_verl.data.row import Region, Split
from medeyes_verl.data.shards import tables_in
from medeyes_verl.data.tables import simple_record, table_rows
from medeyes_verl.gaze.geometry import Box

Language = Literal["en", "zh", "all"]
_FILES: dict[Split, tuple[str, ...]] = {
    "train": ("train.json",),
    "val": ("validate.json", "validation.json", "val.json"),
    "test": ("test.json",),
}
_CHINESE = re.compile("[\u4e00-\u9fff]")
_KEYS = ("qid", "img_name", "question", "answer", "q_lang", "answer_type", "modality", "location")
_BOXES = "detection.json"


def read(
    folder: Path,
    *,
    language: Annotated[Language, typer.Option(help="Which questions to take.")] = "en",
) -> Iterator[Record]:
    """The questions of a folder in either form."""
    roots = (folder, folder / "Slake1.0")
    archive = False
    for split, names in _FILES.items():
        path = only_place([root / name for root in roots for name in names], f"the source holds the {split} questions")
        if path is not None:
            archive = True
            refuse_second_form(path, tables_in(folder))
            yield from _questions(path, split, language, place_of(path.parent, ("imgs",), ("imgs.zip",)))
    for row in () if archive else table_rows(tables_in(folder), ("question", "answer"), ("image",)):
        yield _in_language(simple_record(row), row.labelled("language"), language)


def _in_language(record: Record, cell: object, language: Language) -> Record:
    """The record, left out when its row says another language or, where no row says one, its question shows it."""
    own = tidy(cell)[0].lower() or ("zh" if _CHINESE.search(record.question) else "en")
    wanted = language == "all" or own == language
    return record if wanted else replace(record, left_out=f"question in language {own!r}")


def _questions(path: Path, split: Split, language: Language, picture: Place) -> Iterator[Record]:
    for number, entry in enumerate(read_json_list(path, _KEYS)):
        place = f"{path.name}: entry {number}"
        name = tidy(entry["img_name"])[0]
        boxes = picture(str(PurePosixPath(name).with_name(_BOXES))) if name else None
        record = make_record(
            split,
            entry["question"],
            entry["answer"],
            (picture(name),) if name else (),
            id=entry["qid"],
            answer_type=read_answer_type(entry["answer_type"], place),
            modality=entry["modality"],
            location=entry["location"],
            left_out="" if name else "no image",
            place=place,
        )
        record = _in_language(record, entry["q_lang"], language)
        yield record if record.left_out or boxes is None else replace(record, regions=_regions(boxes))


@lru_cache(maxsize=4096)
def _regions(source: FilePicture | ZipPicture) -> tuple[Region, ...]:
    """The boxes of a `detection.json`, a list of `{label: [x, y, width, height]}` in pixels; () where there is none."""
    if not source.present():
        return ()
    try:
        pairs = [pair for entry in json.loads(source.read()) for pair in entry.items()]
        return tuple(_region(label, box) for label, box in pairs if box)
    except (ValueError, AttributeError, TypeError) as error:
        raise SourceError(f"{source} is no list of boxes ({error}); download it again") from error


def _region(label: str, box: Any) -> Region:
    x, y, width, height = (float(side) for side in box)
    return Region(Box(x, y, x + width, y + height), label)


app = make_app(Benchmark("slake", read, "BoKelvin/SLAKE"))
