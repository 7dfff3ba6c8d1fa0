"""What splits share that they should not: pictures, near-copies of pictures, and whole questions.

It works on a light index of the rows (a few words each), so that hundreds of thousands fit in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from sys import intern
from typing import cast

import pyarrow.parquet as pq

from medeyes_verl.data.image_source import SourceError
from medeyes_verl.data.row import Split

SPLITS: tuple[Split, ...] = ("train", "val", "test")
"""In the order of trust: what two splits share is taken from the first of them."""
_EXTRA = ("split", "id", "question", "options", "question_type", "answer_type")
_COLUMNS = ["images", "reward_model.ground_truth", *(f"extra_info.{name}" for name in _EXTRA)]


@dataclass(slots=True)
class IndexedRow:
    """A row as the audit sees it.

    Attributes:
        split: may be changed by carving out a validation set.
        pictures: the names of its pictures in the store, which are digests of their content.
        same: equal for two rows with the same pictures, question, options and answer but for case and spaces.
        question_type, answer_type: for the counts of the summary.
        dropped: why it is not written, or "".
    """

    split: Split
    id: str
    pictures: tuple[str, ...]
    same: bytes
    question_type: str
    answer_type: str | None
    dropped: str = ""


@dataclass(frozen=True, slots=True)
class Leak:
    """What two splits share; `later` is the one that should be unseen."""

    earlier: Split
    later: Split
    shared_pictures: int
    pictures: int
    earlier_rows: int
    shared_questions: int

    def sentence(self) -> str:
        return (
            f"{self.shared_pictures} of {self.pictures} {self.later} images are also in {self.earlier} "
            f"({self.earlier_rows} {self.earlier} rows; {self.shared_questions} {self.later} questions word for word)"
        )


def index_rows(parts: Iterable[str]) -> list[IndexedRow]:
    """The index of all rows of all parts, in their order."""
    index: list[IndexedRow] = []
    for part in parts:
        for row in pq.ParquetFile(part).read(columns=_COLUMNS).to_pylist():
            extra, pictures = row["extra_info"], tuple(Path(image).name for image in row["images"])
            words = [extra["question"], *extra["options"], row["reward_model"]["ground_truth"]]
            content = "\0".join([*pictures, *(" ".join(text.lower().split()) for text in words)])
            same = hashlib.sha256(content.encode()).digest()[:16]
            index.append(
                IndexedRow(
                    cast(Split, intern(extra["split"])),  # a few words for hundreds of thousands of rows
                    extra["id"],
                    pictures,
                    same,
                    intern(extra["question_type"]),
                    extra["answer_type"] and intern(extra["answer_type"]),
                )
            )
    return index


def drop_duplicates(index: Sequence[IndexedRow]) -> None:
    """Marks repeated questions: the later one within a split, and in an earlier split what a later split has."""
    seen: set[bytes] = set()
    for split in reversed(SPLITS):
        for row in kept(index, split):
            if row.same in seen:
                row.dropped = "duplicate question"
            seen.add(row.same)


def drop_leaks(index: Sequence[IndexedRow]) -> None:
    """Marks the rows of an earlier split that show a picture of a later one."""
    for earlier, later in combinations(SPLITS, 2):
        seen = pictures_of(index, later)
        for row in kept(index, earlier):
            if not seen.isdisjoint(row.pictures):
                row.dropped = f"image is in {later}"


def carve_validation(index: Sequence[IndexedRow], fraction: float, seed: int) -> None:
    """Move `fraction` of the training images, with all their questions, to the validation split; at least one image.

    The choice depends on the seed and on the images alone. A row with several images goes by its first. Raises
    SourceError where no training image would be left.
    """
    firsts = {row.pictures[0] for row in kept(index, "train")}
    ordered = sorted(firsts, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    count = max(1, round(fraction * len(ordered)))
    if count >= len(ordered):
        raise SourceError(
            f"--val-fraction {fraction} of {len(ordered)} training images leaves none to train on; "
            "give a smaller share, or leave it out and name another table in data.val_files"
        )
    chosen = set(ordered[:count])
    for row in kept(index, "train"):
        if row.pictures[0] in chosen:
            row.split = "val"


def find_leaks(index: Sequence[IndexedRow]) -> list[Leak]:
    """One entry a pair of splits that both have rows."""
    leaks = []
    for earlier, later in combinations(SPLITS, 2):
        ours, theirs = pictures_of(index, earlier), pictures_of(index, later)
        if ours and theirs:
            questions = {row.same for row in kept(index, earlier)}
            leaks.append(
                Leak(
                    earlier,
                    later,
                    len(ours & theirs),
                    len(theirs),
                    sum(not theirs.isdisjoint(row.pictures) for row in kept(index, earlier)),
                    sum(row.same in questions for row in kept(index, later)),
                )
            )
    return leaks


def kept(index: Sequence[IndexedRow], split: Split) -> list[IndexedRow]:
    return [row for row in index if row.split == split and not row.dropped]


def pictures_of(index: Sequence[IndexedRow], split: Split) -> set[str]:
    return {name for row in kept(index, split) for name in row.pictures}
