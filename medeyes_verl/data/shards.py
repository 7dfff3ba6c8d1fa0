"""Which files of a Hugging Face snapshot hold which split, and whether all of them are there.

The hub's data sets come as `train.parquet`, `train-00000-of-00003.parquet` (with or without a hash after it),
`train-00000.parquet`, `train/0000.parquet`, `default/train/0000.parquet`, `name-train.parquet`, and, where a conversion
stopped early, `partial-train/0000.parquet`. The same split may lie in one folder in two of these forms.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medeyes_verl.data.image_source import SourceError
from medeyes_verl.data.row import Split

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
_COPIES = (".csv", ".tsv", ".json", ".jsonl", ".arrow", ".feather")
"""Files of these types that name a split are a second copy of what the parquet files hold."""
_PARTIAL = "partial"
_OF = re.compile(r"(?P<stem>.*?)[-_. ]*(?P<number>\d+)[-_. ]?of[-_. ]?(?P<total>\d+)(?:[-_.][0-9a-f]{4,64})?")
_NUMBERED = re.compile(r"(?P<stem>.*?)[-_. ]*(?:part|shard)?[-_. ]*(?P<number>\d+)")
_WORDS = re.compile(r"[^A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Table:
    """A parquet file of a split. `number` is its place in its series and `total` the length, where its name says so."""

    path: Path
    split: Split
    stem: str
    number: int | None
    total: int | None
    partial: bool

    @property
    def series(self) -> tuple[Path, str, bool, int | None]:
        """Files of one series hold a split together; two series hold it twice."""
        return (self.path.parent, self.stem, self.number is None, self.total)


def tables_in(
    folder: Path,
    names: Mapping[str, Split] = SPLIT_NAMES,
    *,
    folders_are_subsets: bool = False,
    besides: Sequence[str] = (),
) -> list[Table]:
    """The parquet files under `folder` in their order; with `folders_are_subsets` each sub-folder has its own splits.

    `besides` are names of files that are no copies. Raises SourceError when one names no split, when a split lies there
    in two forms, or when a file of another type holds a copy of one.
    """
    files = sorted(_tabular_files(folder))
    tables = [_table(path, folder, names) for path in files if path.suffix.lower() == ".parquet"]
    by_split: dict[tuple[Path, Split], dict[object, Path]] = defaultdict(dict)
    for table in tables:
        by_split[table.path.parent if folders_are_subsets else folder, table.split].setdefault(table.series, table.path)
    for (_, split), series in by_split.items():
        if len(series) > 1:
            raise SourceError(
                f"{folder} holds the {split} split {len(series)} times: {' and '.join(map(str, series.values()))}. "
                "Give --source a folder that holds one of them"
            )
    first = {table.split: table.path for table in reversed(tables)}
    for path in files if tables else ():
        is_copy = path.suffix.lower() in _COPIES and path.name not in besides
        copied = _split_of(path, folder, names)[0] if is_copy else None
        if copied is not None and copied in first:
            raise SourceError(
                f"{folder} holds the {copied} split twice: {first[copied]} and {path}. Move one of them elsewhere"
            )
    return tables


def missing_shards(tables: list[Table]) -> list[str]:
    """The files that must be there too, by the names and numbers of those that are."""
    missing = []
    by_series: dict[object, list[Table]] = defaultdict(list)
    for table in tables:
        by_series[table.series].append(table)
        if table.partial:
            missing.append(f"the rest of {table.path.parent.name}/ (its name says that it is a part)")
    for series in by_series.values():
        first = series[0]
        there = {table.number for table in series if table.number is not None}
        if not there:
            continue
        if first.total is None:
            start = 1 if first.stem and 1 in there and 0 not in there else 0
            wanted = set(range(start, max(there) + 1))
        else:
            start = 1 if 0 not in there and first.total in there else 0
            wanted = set(range(start, start + first.total))
        missing += [str(first.path.parent / _renumbered(first, number)) for number in sorted(wanted - there)]
    return missing


def _renumbered(table: Table, number: int) -> str:
    """The name of another file of a series; a hash that each has of its own is left out."""
    pattern = _NUMBERED if table.total is None else _OF
    match = pattern.fullmatch(table.path.stem)
    assert match is not None  # the table has a number
    digits = len(match["number"])
    name = table.path.stem[: match.end("number") if table.total is None else match.end("total")]
    return f"{name[: match.start('number')]}{number:0{digits}d}{name[match.end('number') :]}{table.path.suffix}"


def _table(path: Path, folder: Path, names: Mapping[str, Split]) -> Table:
    split, partial = _split_of(path, folder, names)
    if split is None:
        raise SourceError(
            f"the name of {path} says no split, or two; rename it as train-….parquet, validation-….parquet or "
            "test-….parquet, or move it out of the folder"
        )
    stem, number, total = _numbers(path.stem)
    return Table(path, split, stem, number, total, partial)


def _numbers(name: str) -> tuple[str, int | None, int | None]:
    if match := _OF.fullmatch(name):
        return match["stem"], int(match["number"]), int(match["total"])
    match = _NUMBERED.fullmatch(name)
    if match and (len(match["number"]) > 1 or int(match["number"]) < 2):
        return match["stem"], int(match["number"]), None
    return name, None, None  # train_2 alone is a version


def _split_of(path: Path, folder: Path, names: Mapping[str, Split]) -> tuple[Split | None, bool]:
    """The split that a file's name says, or else the nearest folder's that says one; and whether that says a part."""
    places = [path.stem, *(part.name for part in path.parents if part != folder and part.is_relative_to(folder))]
    for place in places:
        words = [word.lower() for word in _WORDS.split(place)]
        found = {names[word] for word in words if word in names}
        if found:
            return (found.pop() if len(found) == 1 else None), _PARTIAL in words
    return None, False


def _tabular_files(folder: Path) -> Iterator[Path]:
    """Parquet files and what may be copies of them, outside hidden folders; fast among a hundred thousand images."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.lower().endswith((".parquet", *_COPIES)) and not name.startswith("."):
                yield Path(place, name)
