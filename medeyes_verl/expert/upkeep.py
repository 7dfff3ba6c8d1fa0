"""Checking, repairing and joining trajectory stores."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from medeyes_verl.expert import entry_file
from medeyes_verl.expert.arrow_store import ArrowStore
from medeyes_verl.expert.entry_file import Entry, Promise, Row, StoreError, decode
from medeyes_verl.expert.store import ARROW_MANIFEST, FILE, StoreWriter, TrajectoryStore, locked, new_file, store_file


@dataclass(slots=True)
class StoreReport:
    """What a store holds, and what is damaged in it."""

    questions: int = 0
    trajectories: int = 0
    wrong: int = 0
    """Trajectories whose answer is labelled wrong."""
    empty: int = 0
    """Questions known to have no trajectory."""
    shortfall: int = 0
    """Trajectories that were asked for and could not be made, as their makers recorded."""
    sources: dict[str, int] = field(default_factory=dict)
    """Trajectories by source."""
    lengths: dict[int, int] = field(default_factory=dict)
    """Trajectories by number of gazes."""
    damage: list[str] = field(default_factory=list)
    """One line for each finding of SQLite's integrity check and each damaged or lost entry."""
    lost: int = 0
    """Entries that the store promises and that cannot be read, as far as its promise can be read."""


def check_store(path: Path, progress: Callable[[], None] = lambda: None) -> StoreReport:
    """Read every byte of a store: SQLite's integrity check, checksums, lost ids, trajectories that do not decode.

    `progress` is called once an entry. Raises StoreError only where there is no store.
    """
    return _examine(store_file(path), lambda row: progress())


def repair_store(path: Path) -> int:
    """Keep every entry that can be read, and return how many (of those the store promises) were lost.

    The damaged file is set aside as `damaged-…`. A build into the store makes the lost entries again.
    """
    file = store_file(path)
    with locked(path):
        rows: list[Row] = []
        report = _examine(file, rows.append)
        if not report.damage:
            return 0
        sound = new_file(path)
        with entry_file.named(sound), closing(entry_file.connect(sound)) as db:
            entry_file.insert(db, rows)
        number = sum(1 for _ in path.glob(f"damaged-*{FILE}"))
        shutil.copyfile(file, path / f"damaged-{number}-{FILE}")
        path.joinpath(f"{FILE}-journal").unlink(missing_ok=True)  # of the damaged file; it fits no other
        os.replace(sound, file)
    return report.lost


def any_store(path: Path) -> TrajectoryStore | ArrowStore:
    """Open a store for reading, also one of Arrow files as they were before SQLite. Raises StoreError."""
    if (path / ARROW_MANIFEST).exists() and not (path / FILE).exists():
        return ArrowStore(path)
    return TrajectoryStore(path)


def merge_stores(target: Path, sources: Sequence[Path], progress: Callable[[], None] = lambda: None) -> tuple[int, int]:
    """Add the entries of `sources` to `target`, in order; (added, skipped because the target had the question).

    `progress` is called once an entry. May be killed and called again at any time.
    """
    opened = [any_store(source) for source in sources]
    added = 0
    with StoreWriter(target) as writer:
        for store in opened:
            for entry in store.entries():
                added += writer.add(entry.expert_id, entry.trajectories, entry.record)
                progress()
    return added, writer.skipped


def _examine(file: Path, sound: Callable[[Row], None]) -> StoreReport:
    """Report on a file, and hand over each sound row."""
    report, promise = StoreReport(), None
    try:
        with entry_file.named(file), closing(entry_file.connect(file)) as db:
            promise = entry_file.read_promise(db)
            report.damage += [f"{file}: {line}" for (line,) in db.execute("PRAGMA integrity_check") if line != "ok"]
    except StoreError as error:
        report.damage.append(str(error))
    unsound = digest = 0
    with entry_file.named(file), closing(entry_file.connect(file, checked=False)) as db:
        for row in _reachable(db):
            try:
                entry = decode(row, file)
            except StoreError as error:
                report.damage.append(str(error))
                unsound += 1
                continue
            _count(entry, report)
            digest += entry_file.key_of(entry.expert_id)
            sound(row)
    report.lost = unsound if promise is None else max(0, promise.entries - report.questions)
    found = Promise(report.questions, digest % 2**64)
    if promise is not None and found != promise:
        report.damage.append(str(entry_file.lost(file, promise, found.entries)))
    return report


def _reachable(db: sqlite3.Connection) -> Iterator[Row]:
    """Every row that damage leaves reachable: along the table from both ends, then by the index."""
    db.text_factory = lambda text: text.decode(errors="replace")  # a damaged id is found by its checksum
    seen: set[int] = set()
    for order in ("ASC", "DESC"):
        with suppress(sqlite3.Error):
            for number, *values in db.execute(f"SELECT rowid, * FROM entries NOT INDEXED ORDER BY rowid {order}"):
                if number in seen:
                    break
                seen.add(number)
                yield Row(*values)
    for order in ("ASC", "DESC"):
        query = f"SELECT rowid FROM entries INDEXED BY sqlite_autoindex_entries_1 ORDER BY expert_id {order}"
        with suppress(sqlite3.Error):
            for (number,) in db.execute(query):
                if number in seen:
                    continue
                seen.add(number)
                with suppress(sqlite3.Error):
                    values = db.execute("SELECT * FROM entries NOT INDEXED WHERE rowid = ?", (number,)).fetchone()
                    if values is not None:
                        yield Row(*values)


def _count(entry: Entry, report: StoreReport) -> None:
    report.questions += 1
    report.empty += not entry.trajectories
    report.shortfall += int(entry.record.get("shortfall", 0))
    for trajectory in entry.trajectories:
        report.trajectories += 1
        report.wrong += not trajectory.correct
        report.sources[trajectory.source] = report.sources.get(trajectory.source, 0) + 1
        length = len(trajectory.steps)
        report.lengths[length] = report.lengths.get(length, 0) + 1
