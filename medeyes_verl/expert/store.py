"""Trajectories on disk, found by question id, shared by any number of readers.

A store is a folder:

    manifest.json             format, schema version and the segments that count
    segment-<name>.arrow      immutable; memory-mapped by readers (see segment.py)
    .lock                     held by a writer while it commits

A writer appends by writing one more segment and then replacing the manifest, so a reader sees all of a
commit or nothing of it, and a writer killed at any moment leaves at most a file that no manifest names
(ignored, and cleaned by the next writer). A question's entry is written once: two builds into one store
keep the first and count the second. Readers never load the store: 1,000,000 trajectories cost a worker
the pages it touches.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from medeyes_verl.expert.manifest import (
    MANIFEST,
    locked,
    manifest_stamp,
    new_segment,
    open_segment,
    read_manifest,
    remove_orphans,
    write_manifest,
)
from medeyes_verl.expert.segment import Entry, Segment, StoreError, encode, key_of
from medeyes_verl.expert.trajectory import Trajectory

__all__ = ["Entry", "StoreError", "StoreWriter", "TrajectoryStore"]

# Below this many entries a segment is small; this many small ones are merged into one. A lookup thus
# searches few segments, and an entry is rewritten a handful of times however long a build runs.
SMALL_SEGMENT_ENTRIES = 32_768
MAX_SMALL_SEGMENTS = 16


class TrajectoryStore:
    """A reader. Cheap to make, cheap to pickle (only the path travels), safe in many processes."""

    def __init__(self, path: str | Path) -> None:
        """Raises StoreError where `path` is no store, is damaged, or was written by another version."""
        self.path = Path(path)
        self._load()

    def get(self, expert_id: str) -> list[Trajectory]:
        """The question's trajectories, in the order they were made; [] when the store does not know it."""
        found = self._find(expert_id)
        return found[0].trajectories(found[1]) if found else []

    def entry(self, expert_id: str) -> Entry | None:
        """The question's trajectories with the record of how they were made; None when unknown."""
        found = self._find(expert_id)
        return found[0].entry(found[1]) if found else None

    def entries(self) -> Iterator[Entry]:
        """Every entry, segment by segment (the order within one is that of the key hashes)."""
        for segment in self._segments:
            for row in range(len(segment)):
                yield segment.entry(row)

    def ids(self) -> Iterator[str]:
        for segment in self._segments:
            yield from segment.ids()

    def __contains__(self, expert_id: str) -> bool:
        return self._find(expert_id) is not None

    def __len__(self) -> int:
        """The number of questions."""
        return sum(len(segment) for segment in self._segments)

    def __reduce__(self) -> tuple[type[TrajectoryStore], tuple[Path]]:
        return TrajectoryStore, (self.path,)

    def _find(self, expert_id: str) -> tuple[Segment, int] | None:
        key = key_of(expert_id)
        for attempt in range(2):
            for segment in self._segments:
                row = segment.find(expert_id, key)
                if row is not None:
                    return segment, row
            # Unknown: another process may have appended since we last looked.
            if attempt == 1 or manifest_stamp(self.path) == self._stamp:
                return None
            self._load()
        return None

    def _load(self) -> None:
        while True:
            self._stamp = manifest_stamp(self.path)
            try:
                self._segments = [open_segment(self.path, listed) for listed in read_manifest(self.path)]
                return
            except StoreError:
                # A writer may have merged the segments between our two reads.
                if manifest_stamp(self.path) == self._stamp:
                    raise


class StoreWriter:
    """Appends entries. Commits every `commit_entries` entries or `commit_seconds`, and on leaving the context.

    Entries are whole questions, so what is committed is never half of one, also when an exception leaves
    the context.
    """

    def __init__(self, path: str | Path, commit_entries: int = 2_048, commit_seconds: float = 10.0) -> None:
        """Makes the folder where there is none. Raises StoreError on a folder that is something else."""
        self.path = Path(path)
        self.skipped = 0
        """Entries not written because the store had their question already (another build wrote it)."""
        self._commit_entries = commit_entries
        self._commit_seconds = commit_seconds
        self._last_commit = time.monotonic()
        self._pending: dict[str, Entry] = {}
        if self.path.is_dir() and not (self.path / MANIFEST).exists():
            # Not even segments may lie here: without a manifest they may be somebody's lost work.
            strangers = [file.name for file in self.path.iterdir() if not file.name.startswith((".lock", ".manifest"))]
            if strangers:
                raise StoreError(f"{self.path}: not a trajectory store (no {MANIFEST}), and it holds {strangers[0]!r}")
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path):
            if not (self.path / MANIFEST).exists():
                write_manifest(self.path, [])
            remove_orphans(self.path)
        self._store = TrajectoryStore(self.path)

    def add(self, expert_id: str, trajectories: Sequence[Trajectory], record: Mapping[str, Any] | None = None) -> bool:
        """Add one question (also one without a trajectory: it is then known to have none).

        False, and counted in `skipped`, when the store has the question already.
        """
        for trajectory in trajectories:
            if trajectory.expert_id != expert_id:
                raise ValueError(f"a trajectory of {trajectory.expert_id!r} was added under {expert_id!r}")
        if expert_id in self:
            self.skipped += 1
            return False
        self._pending[expert_id] = Entry(expert_id, tuple(trajectories), dict(record or {}))
        late = time.monotonic() - self._last_commit >= self._commit_seconds
        if len(self._pending) >= self._commit_entries or late:
            self.commit()
        return True

    def __contains__(self, expert_id: str) -> bool:
        return expert_id in self._pending or expert_id in self._store

    def commit(self) -> None:
        """Make the entries added so far durable and visible, all at once."""
        self._last_commit = time.monotonic()
        if not self._pending:
            return
        with locked(self.path):
            fresh = [entry for entry in self._pending.values() if entry.expert_id not in self._store]
            self.skipped += len(self._pending) - len(fresh)
            if fresh:
                listed = [*read_manifest(self.path), new_segment(self.path, [encode(entry) for entry in fresh])]
                write_manifest(self.path, _merge_small(self.path, listed))
                remove_orphans(self.path)
        self._pending.clear()
        self._store = TrajectoryStore(self.path)

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.commit()


def _merge_small(path: Path, listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    small = [each for each in listed if each["entries"] < SMALL_SEGMENT_ENTRIES]
    if len(small) < MAX_SMALL_SEGMENTS:
        return listed
    rows = []
    for each in small:
        segment = open_segment(path, each)
        rows += [segment.raw(row) for row in range(len(segment))]
    return [each for each in listed if each not in small] + [new_segment(path, rows)]
