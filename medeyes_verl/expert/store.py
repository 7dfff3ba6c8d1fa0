"""Trajectories on disk, found by question id, shared by any number of readers.

A store is a folder with one SQLite file (see entry_file.py) in rollback-journal mode, which works wherever the file
system has locks, network file systems included, and can be read where nothing can be written. Write-ahead logging is
not used: it needs shared memory, so it fails on network file systems, and a damaged log loses commits in silence.

A commit is one transaction: a reader sees all of it or nothing, and a writer killed at any moment leaves nothing of it.
A question's entry is written once: two builds into one store keep the first and count the second.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from medeyes_verl.expert import entry_file
from medeyes_verl.expert.entry_file import Entry, KnownKeys, Row, StoreError, decode, encode
from medeyes_verl.expert.trajectory import Trajectory

__all__ = ["FILE", "Entry", "StoreError", "StoreWriter", "TrajectoryStore", "store_file"]

FILE = "trajectories.sqlite"
ARROW_MANIFEST = "manifest.json"
"""Of a store written before stores were SQLite files; see arrow_store.py."""


def store_file(path: Path) -> Path:
    """The file of the store in the folder `path`. Raises StoreError where there is none."""
    file = path / FILE
    if file.exists():
        return file
    if (path / ARROW_MANIFEST).exists():
        raise StoreError(
            f"{path}: a store of Arrow files, as they were before the SQLite file {FILE}; "
            f"convert it: `medeyes-verl experts merge NEW_FOLDER {path}`"
        )
    raise StoreError(f"{path}: no trajectory store here (no {FILE}); make one with `medeyes-verl experts`")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the store's writer lock; it is released also when the process is killed."""
    with open(path / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def new_file(path: Path) -> Path:
    """Make an empty file beside the store's, under a name that the next writer removes if we are killed."""
    for stale in path.glob(f".{FILE}.*"):
        stale.unlink()
    temporary = path / f".{FILE}.{secrets.token_hex(8)}"
    entry_file.create(temporary)
    return temporary


class TrajectoryStore:
    """A reader. Cheap to make, cheap to pickle (only the path travels), safe in many processes and threads."""

    def __init__(self, path: str | Path) -> None:
        """Raises StoreError where `path` is no store, is damaged, or was written by another version."""
        self.path = Path(path)
        self._file = store_file(self.path)
        self._inode = 0
        self._connections: dict[tuple[int, int], sqlite3.Connection] = {}
        self._known = KnownKeys()
        with entry_file.named(self._file):
            entry_file.read_promise(self._db())

    def get(self, expert_id: str) -> list[Trajectory]:
        """The question's trajectories, in the order they were made; [] when the store does not know it.

        Raises StoreError where the store is damaged there.
        """
        entry = self.entry(expert_id)
        return list(entry.trajectories) if entry else []

    def entry(self, expert_id: str) -> Entry | None:
        """The question's trajectories with the record of how they were made; None when unknown."""
        row = self._row(expert_id)
        return decode(row, self._file) if row else None

    def entries(self) -> Iterator[Entry]:
        """Every entry, in the order of writing."""
        for row in entry_file.all_rows(self._file, self._db()):
            yield decode(row, self._file)

    def ids(self) -> Iterator[str]:
        for row in entry_file.all_rows(self._file, self._db()):
            yield row.expert_id

    def __contains__(self, expert_id: str) -> bool:
        return self._row(expert_id) is not None

    def __len__(self) -> int:
        """The number of questions."""
        with entry_file.named(self._file):
            return entry_file.read_promise(self._db()).entries

    def __reduce__(self) -> tuple[type[TrajectoryStore], tuple[Path]]:
        return TrajectoryStore, (self.path,)

    def _row(self, expert_id: str) -> Row | None:
        with entry_file.named(self._file):
            db = self._db()
            row = entry_file.select(db, expert_id)
            if row is not None:
                return row
            with entry_file.snapshot(db):
                self._known = self._known.extended(db)
                row = entry_file.select(db, expert_id)  # another process may have added it just now
                if row is None and expert_id in self._known:
                    raise StoreError(
                        f"{self._file}: damaged: the entry of question {expert_id!r} is not found; {entry_file.REMEDY}"
                    )
            return row

    def _db(self) -> sqlite3.Connection:
        """This thread's connection: one must not be used by two at once, nor be taken along by a fork."""
        try:
            inode = self._file.stat().st_ino
        except OSError as error:
            raise StoreError(f"{self._file}: cannot be read any more ({error.strerror})") from error
        if inode != self._inode:  # a repair replaced the file
            self._inode, self._connections, self._known = inode, {}, KnownKeys()
        place = os.getpid(), threading.get_ident()
        if place not in self._connections:
            with entry_file.named(self._file):
                self._connections[place] = entry_file.connect(self._file)
                self._connections[place].execute("PRAGMA query_only=ON")
        return self._connections[place]


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
        self._pending: dict[str, Row] = {}
        if self.path.is_dir() and not (self.path / FILE).exists():
            ours = (".lock", f".{FILE}.")
            strangers = sorted(file.name for file in self.path.iterdir() if not file.name.startswith(ours))
            if ARROW_MANIFEST in strangers:
                store_file(self.path)  # says what to do
            if strangers:
                # not even a store's own other files: they may be what is left of somebody's work
                raise StoreError(f"{self.path}: not a trajectory store (no {FILE}), and it holds {strangers[0]!r}")
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path):
            if not (self.path / FILE).exists():
                os.replace(new_file(self.path), self.path / FILE)
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
        self._pending[expert_id] = encode(Entry(expert_id, tuple(trajectories), dict(record or {})))
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
        file = self.path / FILE
        # opened anew under the lock: a repair may have replaced the file
        with locked(self.path), entry_file.named(file), closing(entry_file.connect(file)) as db:
            self.skipped += len(self._pending) - entry_file.insert(db, self._pending.values())
        self._pending.clear()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.commit()
