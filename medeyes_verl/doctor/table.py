"""Findings about a table: what of it no rollout could use, before a rollout meets it.

One pass, a batch of rows in memory at a time; time and memory grow with the rows as a small constant each.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq

from medeyes_verl.doctor.check import Faults, Finding
from medeyes_verl.doctor.images import Images
from medeyes_verl.doctor.row_faults import Check, mapping_of, row_faults, row_name
from medeyes_verl.gaze.geometry import Size

NEEDED = ("data_source", "prompt", "images", "reward_model", "extra_info")
"""Columns without which no rollout, reward or validation of ours works."""
ROWS_AT_ONCE = 256
SAMPLE = 2000
"""Questions with experts that are kept for playing; of more, so many are drawn."""
SAMPLE_SEED = 0
REBUILD = "prepare the table again with data_preprocess/"
SUBJECTS: dict[Check, tuple[str, str]] = {
    "prompt": ("prompts are messages", "write `prompt` as a list of {role, content}, the user's message last"),
    "places": ("<image> places equal images", "write one <image> into the prompt for each image"),
    "sizes": ("image sizes are those of the images", REBUILD + "; boxes of experts are placed by these sizes"),
    "answer": ("every row has an answer", "write the correct answer as text into reward_model.ground_truth"),
    "question_type": (
        "every answer can be scored",
        "set extra_info.question_type to closed, open or multiple_choice; for the last, list extra_info.options and "
        "write the letter of the correct one into ground_truth",
    ),
    "id": ("every row has an id", "write a different text into extra_info.id of every question"),
    "data_source": ("every row names its data_source", "write the benchmark's name into the column data_source"),
    "expert_id": ("experts only in training rows", "remove expert_id from rows that are not for training"),
}


@dataclass(frozen=True, slots=True)
class ExpertRow:
    """A training question without a fault, and the sizes of its images."""

    row: Mapping[str, Any]
    sizes: tuple[Size, ...]

    @property
    def expert_id(self) -> str:
        return str(self.row["extra_info"]["expert_id"])


@dataclass(frozen=True, slots=True)
class Completion:
    """A row as the trainer's data set would hand it on, and which keys it would add."""

    row: Mapping[str, Any]
    added: tuple[str, ...] = ()


Complete = Callable[[int, Mapping[str, Any]], Completion]
"""From a row's number and the row. An exception means that the trainer refuses the row, with these words."""


def as_it_is(number: int, row: Mapping[str, Any]) -> Completion:
    """No key is added when a table is loaded."""
    return Completion(row)


@dataclass(slots=True)
class Table:
    """A table, checked row by row. Make it, run `findings()` to its end, then read the other fields."""

    path: Path
    image_root: Path | None = None
    """Where relative image paths begin; None: a relative path is a fault."""
    complete: Complete = as_it_is
    rows: int = 0
    training_rows: int = 0
    expert_ids: set[str] = field(default_factory=set)
    experts: list[ExpertRow] = field(default_factory=list)
    """Rows with experts and without faults: all, or a sample of SAMPLE drawn with SAMPLE_SEED."""
    expert_rows: int = 0
    """How many such rows there are."""

    def findings(self) -> Iterator[Finding]:
        """Check the whole table; never raises on what it holds."""
        try:
            with pq.ParquetFile(self.path) as file:
                columns = [name for name in NEEDED if name in file.schema_arrow.names]
                missing = [name for name in NEEDED if name not in columns]
                if missing:
                    seen = f"{', '.join(missing)} missing; the table has {', '.join(file.schema_arrow.names)}"
                    yield Finding(f"{self.path}: columns", False, seen, REBUILD)
                    return
                batches = file.iter_batches(batch_size=ROWS_AT_ONCE, columns=columns)
                yield from self._check(row for batch in batches for row in batch.to_pylist())
        except Exception as error:  # a damaged file fails in many ways, some of them in the middle
            yield Finding(f"{self.path}: readable", False, f"{type(error).__name__}: {error}", REBUILD)

    def _check(self, rows: Iterator[dict[str, Any]]) -> Iterator[Finding]:
        faults = {check: Faults("rows") for check in get_args(Check)}
        images, twice, added = Images(self.image_root), _Shared(), dict[str, int]()
        rng = random.Random(SAMPLE_SEED)
        for number, given in enumerate(rows):
            self.rows += 1
            name = row_name(number, given)
            row: Mapping[str, Any] = given
            refused: str | None = None
            try:
                completion = self.complete(number, given)
                row = completion.row
                for key in completion.added:
                    added[key] = added.get(key, 0) + 1
            except Exception as error:  # whatever it is, the trainer would meet it too
                refused = str(error)
            cells = row["images"] if isinstance(row.get("images"), list) else []
            sizes = [images.size(cell, name) for cell in cells]
            wrong = [*row_faults(row), *_size_faults(row, sizes)]
            if refused is not None and not wrong:
                wrong.append(("answer", refused))
            for check, why in wrong:
                faults[check].add(f"{name}: {why}")
            self.training_rows += mapping_of(row, "extra_info").get("split") == "train"
            shared = twice.add(name, row)
            expert = mapping_of(row, "extra_info").get("expert_id")
            if isinstance(expert, str) and expert:
                self.expert_ids.add(expert)
                if not wrong and not shared and None not in sizes:
                    self._keep(ExpertRow({**row, "images": None}, tuple(size for size in sizes if size)), rng)
        yield Finding(f"{self.path}: rows", bool(self.rows), str(self.rows), REBUILD)
        if added:
            told = ", ".join(f"{key} inferred in {count} rows" for key, count in added.items())
            yield Finding(f"{self.path}: completed at load", True, told)
        where = "put them where the table says"
        if images.relative:
            where = f"set data.medeyes.image_root to the folder where relative paths begin, or {where}"
        yield images.faults.finding(f"{self.path}: images can be read", where, images.told())
        for check, (subject, remedy) in SUBJECTS.items():
            yield faults[check].finding(f"{self.path}: {subject}", remedy)
        yield twice.ids.finding(f"{self.path}: ids are unique", SUBJECTS["id"][1], twice.told())
        if self.expert_ids:
            remedy = "give each question an expert_id of its own, or two questions share one's experts and answers"
            yield twice.experts.finding(f"{self.path}: expert ids are unique", remedy)

    def _keep(self, row: ExpertRow, rng: random.Random) -> None:
        """Reservoir sampling: every row is kept with the same probability."""
        self.expert_rows += 1
        if len(self.experts) < SAMPLE:
            self.experts.append(row)
        elif (place := rng.randrange(self.expert_rows)) < SAMPLE:
            self.experts[place] = row


class _Shared:
    """Ids that different questions share. A row that is there twice, as mixtures have them, is no fault."""

    def __init__(self) -> None:
        self.ids, self.experts = Faults("rows"), Faults("rows")
        self._repeated = 0
        self._seen: dict[tuple[str, str, str], tuple[int, str]] = {}

    def add(self, name: str, row: Mapping[str, Any]) -> bool:
        """Enter a row; True where it shares an id with another question."""
        extra = mapping_of(row, "extra_info")
        content = hash(repr((row.get("prompt"), row.get("images"), row.get("reward_model"))))
        before = self.ids.count + self.experts.count
        for kind, key, faults in (
            ("id", extra.get("id"), self.ids),
            ("expert_id", extra.get("expert_id"), self.experts),
        ):
            if not isinstance(key, str):
                continue
            source = str(row.get("data_source")) if kind == "id" else ""
            first, first_name = self._seen.setdefault((kind, source, key), (content, name))
            if first != content:
                faults.add(f"{name} shares {kind} {key!r} with another question, {first_name}")
            elif first_name != name and kind == "id":
                self._repeated += 1
        return self.ids.count + self.experts.count > before

    def told(self) -> str:
        return f"yes; {self._repeated} rows repeat an earlier one whole" if self._repeated else "yes"


def _size_faults(row: Mapping[str, Any], sizes: list[Size | None]) -> Iterator[tuple[Check, str]]:
    told = mapping_of(row, "extra_info").get("image_sizes")
    if not isinstance(told, list) or not told:
        return  # not needed by rollouts, which measure the images themselves
    if len(told) != len(sizes):
        yield "sizes", f"{len(told)} sizes for {len(sizes)} images"
        return
    for number, (said, size) in enumerate(zip(told, sizes, strict=True), 1):
        pair = (said.get("width"), said.get("height")) if isinstance(said, Mapping) else said
        if size is not None and pair != (size.width, size.height):
            yield "sizes", f"image {number} is {size.width}×{size.height}, not {pair}"
            return
