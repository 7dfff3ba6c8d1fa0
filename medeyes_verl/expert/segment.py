"""One immutable segment of a trajectory store: an Arrow IPC file, its entries sorted by key hash.

An entry is one question: its id, its trajectories, and the record of how they were made. The file is
memory-mapped; a lookup is a binary search over the key column, which touches a few pages, and decodes
one entry. Each entry carries a checksum, so that a damaged byte is an error and never a wrong trajectory.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc

from medeyes_verl.expert.trajectory import Trajectory

SCHEMA = pa.schema(
    [
        pa.field("key", pa.uint64(), nullable=False),
        pa.field("expert_id", pa.large_string(), nullable=False),
        pa.field("trajectories", pa.large_binary(), nullable=False),
        pa.field("record", pa.large_binary(), nullable=False),
        pa.field("checksum", pa.uint32(), nullable=False),
    ]
)

Row = tuple[int, str, bytes, bytes, int]
"""An encoded entry: the values of SCHEMA's columns."""


class StoreError(Exception):
    """A trajectory store is damaged, foreign, or written by another version."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One question's trajectories, written once and together."""

    expert_id: str
    trajectories: tuple[Trajectory, ...]
    record: dict[str, Any] = field(default_factory=dict)
    """How they were made (decisions, shortfall, oracle), as JSON types; not read by a lookup for training."""


def key_of(expert_id: str) -> int:
    """The 64-bit key of a question id; equal keys of different ids are told apart by the id itself."""
    return int.from_bytes(hashlib.blake2b(expert_id.encode(), digest_size=8).digest(), "little")


def encode(entry: Entry) -> Row:
    """The columns of one entry, in the order of SCHEMA."""
    return as_row(entry.expert_id, _json([each.as_dict() for each in entry.trajectories]), _json(entry.record))


def as_row(expert_id: str, trajectories: bytes, record: bytes) -> Row:
    """A row of a question whose trajectories and record are encoded already."""
    return key_of(expert_id), expert_id, trajectories, record, _checksum(expert_id, trajectories, record)


def write_segment(path: Path, rows: Iterable[Row]) -> None:
    """Write encoded entries to `path` (a temporary name: the store renames it), sorted, and flush to disk."""
    ordered = sorted(rows, key=lambda row: (row[0], row[1]))
    columns = [pa.array([row[place] for row in ordered], type=part.type) for place, part in enumerate(SCHEMA)]
    batch = pa.record_batch(columns, schema=SCHEMA)
    with open(path, "wb") as file:
        with ipc.new_file(file, SCHEMA) as writer:
            writer.write_batch(batch)
        file.flush()
        os.fsync(file.fileno())


class Segment:
    """A segment, memory-mapped. Any number of processes may hold one: the pages are shared."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            reader = ipc.open_file(pa.memory_map(str(path)))
            if reader.schema != SCHEMA or reader.num_record_batches != 1:
                raise StoreError(f"{path}: not a segment of trajectories (other columns or layout)")
            self._batch = reader.get_batch(0)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{path}: the segment cannot be read ({error})") from error
        # Straight from the mapped pages; Arrow's own to_numpy would import pandas, 30 MB and a second a worker.
        self._key_E = np.frombuffer(self._batch.column(0).buffers()[1], np.uint64, self._batch.num_rows)

    def __len__(self) -> int:
        return self._batch.num_rows

    def find(self, expert_id: str, key: int) -> int | None:
        """The row of `expert_id` (whose key is `key`), or None."""
        # A Python int would make numpy convert, that is copy, the whole column.
        row = int(np.searchsorted(self._key_E, np.uint64(key)))
        while row < len(self._key_E) and int(self._key_E[row]) == key:
            if self._batch.column(1)[row].as_py() == expert_id:
                return row
            row += 1
        return None

    def raw(self, row: int) -> Row:
        """The columns of one entry, its checksum verified. Raises StoreError where it does not hold."""
        try:
            key, expert_id, trajectories, record, checksum = (column[row].as_py() for column in self._batch.columns)
        except UnicodeDecodeError as error:
            raise self._damaged(row) from error
        if key != key_of(expert_id) or checksum != _checksum(expert_id, trajectories, record):
            raise self._damaged(row)
        return key, expert_id, trajectories, record, checksum

    def trajectories(self, row: int) -> list[Trajectory]:
        _, expert_id, trajectories, _, _ = self.raw(row)
        return [Trajectory.from_dict(expert_id, fields) for fields in json.loads(trajectories)]

    def entry(self, row: int) -> Entry:
        _, expert_id, trajectories, record, _ = self.raw(row)
        decoded = tuple(Trajectory.from_dict(expert_id, fields) for fields in json.loads(trajectories))
        return Entry(expert_id, decoded, json.loads(record))

    def _damaged(self, row: int) -> StoreError:
        return StoreError(
            f"{self.path}: entry {row} is damaged: its checksum does not hold. "
            "Run `medeyes-verl experts validate --repair` on the store, then build again"
        )

    def ids(self) -> Iterator[str]:
        for value in self._batch.column(1):
            yield value.as_py()


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _checksum(expert_id: str, trajectories: bytes, record: bytes) -> int:
    return zlib.crc32(record, zlib.crc32(trajectories, zlib.crc32(expert_id.encode())))
