"""From records to parts: the work of one process on a few hundred questions, and what makes a run resumable.

A part is a parquet file of finished rows. Its name holds the digest of the records it was made from, so a
part that is there and whole need not be made again, whoever was killed in between.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medeyes_verl.data.atomic import atomic_path
from medeyes_verl.data.image_source import PictureSource
from medeyes_verl.data.image_store import ImageStore, StoredPicture
from medeyes_verl.data.record import Record
from medeyes_verl.data.row import ROW_SCHEMA, Row

RECORDS_A_PART = 512
ID_DIGITS = 16
_PROBLEMS = b"problems"


@dataclass(frozen=True, slots=True)
class Problem:
    """A question that cannot become a row, and why."""

    split: str
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class PartWork:
    """What one process is asked to do. `target` is the part, `root` the folder of the image store."""

    data_source: str
    records: tuple[Record, ...]
    target: str
    root: str


def plan_parts(data_source: str, records: Iterable[Record], folder: Path, root: Path) -> Iterator[PartWork]:
    """Cuts the usable records into parts, in their order."""
    usable = (record for record in records if not record.left_out)
    while chunk := tuple(islice(usable, RECORDS_A_PART)):
        digest = hashlib.sha256(repr((data_source, str(root), chunk)).encode()).hexdigest()
        yield PartWork(data_source, chunk, str(folder / f"{digest}.parquet"), str(root))


def write_part(work: PartWork) -> str:
    """Stores the pictures of some questions and writes their rows; returns the path of the part."""
    rows: list[Row] = []
    problems: list[Problem] = []
    for record in work.records:
        try:
            rows.append(_row(work, record))
        except ValueError as error:
            problems.append(Problem(record.split, record.name, str(error)))
    table = pa.Table.from_pylist([row.as_dict(index) for index, row in enumerate(rows)], ROW_SCHEMA)
    noted = json.dumps([[problem.split, problem.id, problem.reason] for problem in problems])
    with atomic_path(Path(work.target)) as temporary:
        pq.write_table(table.replace_schema_metadata({_PROBLEMS: noted}), temporary, compression="lz4")
    return work.target


def part_problems(path: str) -> list[Problem]:
    """The questions of a part that became no rows."""
    return [Problem(*fields) for fields in json.loads(pq.read_schema(path).metadata[_PROBLEMS])]


def is_done(work: PartWork) -> bool:
    """The part is there and nothing in it went wrong (a picture that failed may have been mended since)."""
    return Path(work.target).exists() and not part_problems(work.target)


@lru_cache(maxsize=8192)
def _stored(root: str, picture: PictureSource) -> StoredPicture:
    return ImageStore(Path(root)).add_bytes(picture.read(), str(picture))


def _row(work: PartWork, record: Record) -> Row:
    pictures = tuple(_stored(work.root, picture) for picture in record.pictures)
    return Row(
        data_source=work.data_source,
        split=record.split,
        id=record.id or _content_id(record, pictures),
        question=record.question,
        answer=record.answer,
        question_type=record.question_type,
        pictures=pictures,
        options=record.options,
        answer_type=record.answer_type,
        organ=record.organ,
        modality=record.modality,
        location=record.location,
        regions=tuple(replace(region, box=region.box.clipped(pictures[0].size)) for region in record.regions),
    )


def _content_id(record: Record, pictures: tuple[StoredPicture, ...]) -> str:
    """An identifier for a question whose benchmark gives none: equal questions have equal ones, in any order."""
    names = [Path(picture.path).stem for picture in pictures]
    content = json.dumps([names, record.question, record.options, record.answer])
    return hashlib.sha256(content.encode()).hexdigest()[:ID_DIGITS]
