"""SLAKE: radiology questions in English and Chinese, from the authors' archive or from a snapshot.

The archive is `train.json`, `validate.json`, `test.json` and `imgs/` (or `imgs.zip`, as BoKelvin/SLAKE has
it); a snapshot may also be parquet with the pictures in its cells (mdwiratathya/SLAKE-vqa-english).

The English splits share no picture, but hundreds of Chinese training questions show English test pictures.
So English alone is taken unless `--language` says otherwise; with more than one language look at the leaks,
or `--drop-leaks`. The boxes of `detection.json` become the regions of a row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, cast

import typer

from medeyes_verl.data.command import Benchmark, make_app
from medeyes_verl.data.picture_source import FilePicture, SourceError, ZipPicture
from medeyes_verl.data.places import Place, place_of, read_json_list
from medeyes_verl.data.record import Record, make_record
from medeyes_verl.data.row import AnswerType, Region, Split
from medeyes_verl.data.tables import simple_records
from medeyes_verl.gaze.geometry import Box

Language = Literal["en", "zh", "all"]
_FILES: dict[str, Split] = {
    "train.json": "train",
    "validate.json": "val",
    "validation.json": "val",
    "test.json": "test",
}
_KEYS = ("qid", "img_name", "question", "answer", "q_lang", "answer_type", "modality", "location")
_BOXES = "detection.json"


def read(
    folder: Path,
    *,
    language: Annotated[Language, typer.Option(help="Which questions to take.")] = "en",
) -> Iterator[Record]:
    """The questions of a folder in either form."""
    root = next((place for place in (folder, folder / "Slake1.0") if (place / "train.json").is_file()), None)
    if root is None:
        yield from simple_records(folder)
        return
    picture = place_of(root, ("imgs",), ("imgs.zip",))
    files = {split: name for name, split in _FILES.items() if (root / name).is_file()}
    for split, name in files.items():
        yield from _questions(root / name, split, language, picture)


def _questions(path: Path, split: Split, language: Language, picture: Place) -> Iterator[Record]:
    for number, entry in enumerate(read_json_list(path, _KEYS)):
        answer_type = str(entry["answer_type"]).strip()
        if answer_type not in ("CLOSED", "OPEN"):
            raise SourceError(f"{path}: entry {number} has answer_type {answer_type!r}; known are CLOSED and OPEN")
        name = str(entry["img_name"])
        wanted = language in ("all", entry["q_lang"])
        yield make_record(
            split,
            entry["question"],
            entry["answer"],
            (picture(name),),
            id=str(entry["qid"]),
            answer_type=cast(AnswerType, answer_type),
            modality=entry["modality"],
            location=entry["location"],
            regions=_regions(picture(str(PurePosixPath(name).with_name(_BOXES)))) if wanted else (),
            left_out="" if wanted else f"question in language {entry['q_lang']!r}",
        )


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
