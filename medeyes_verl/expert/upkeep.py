"""Checking, mending and joining trajectory stores."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medeyes_verl.expert.manifest import (
    digest_of,
    locked,
    new_segment,
    open_segment,
    read_manifest,
    remove_orphans,
    write_manifest,
)
from medeyes_verl.expert.segment import Row, Segment, StoreError
from medeyes_verl.expert.store import StoreWriter, TrajectoryStore


@dataclass(slots=True)
class StoreReport:
    """What a store holds, and what is wrong with it."""

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
    """One line for each damaged or doubled entry and each unreadable segment."""


def check_store(path: Path, progress: Callable[[], None] = lambda: None) -> StoreReport:
    """Read every byte of a store: checksums, order, ids written twice, trajectories that do not decode.

    `progress` is called once a segment. Raises StoreError only where the manifest itself cannot be read.
    """
    report = StoreReport()
    seen: set[str] = set()
    for listed in read_manifest(path):
        try:
            segment = open_segment(path, listed)
            if digest_of(segment.path) != listed["blake2b"]:
                report.damage.append(f"{segment.path}: its content is not what was written")
            _check_segment(segment, seen, report)
        except StoreError as error:
            report.damage.append(str(error))
        progress()
    return report


def repair_store(path: Path) -> int:
    """Keep every entry that reads well, set the damaged segment files aside as `damaged-…`, and return how many
    entries (of those the manifest promises) were lost. A build into the store makes those again."""
    lost = 0
    with locked(path):
        kept, aside = [], []
        for listed in read_manifest(path):
            rows, missing = _sound_rows(path, listed)
            if not missing and digest_of(path / listed["file"]) == listed["blake2b"]:
                kept.append(listed)
                continue
            lost += missing
            aside.append(path / listed["file"])
            if rows:
                kept.append(new_segment(path, rows))
        write_manifest(path, kept)
        for file in aside:
            if file.exists():
                os.replace(file, file.with_name(f"damaged-{file.name}"))
        remove_orphans(path)
    return lost


def merge_stores(target: Path, sources: Sequence[Path], progress: Callable[[], None] = lambda: None) -> tuple[int, int]:
    """Add the entries of `sources` to `target`, in order; (added, skipped because the target had the question).

    `progress` is called once an entry. May be killed and called again at any time.
    """
    opened = [TrajectoryStore(source) for source in sources]
    added = 0
    with StoreWriter(target) as writer:
        for store in opened:
            for entry in store.entries():
                added += writer.add(entry.expert_id, entry.trajectories, entry.record)
                progress()
    return added, writer.skipped


def _check_segment(segment: Segment, seen: set[str], report: StoreReport) -> None:
    last_key = -1
    for row in range(len(segment)):
        try:
            key = segment.raw(row)[0]
            entry = segment.entry(row)
        except (StoreError, ValueError) as error:
            report.damage.append(str(error))
            continue
        if key < last_key:
            report.damage.append(f"{segment.path}: entry {row} is out of order, so that it may not be found")
        if entry.expert_id in seen:
            report.damage.append(f"{segment.path}: {entry.expert_id!r} is in the store twice")
        last_key = key
        seen.add(entry.expert_id)
        report.questions += 1
        report.empty += not entry.trajectories
        report.shortfall += int(entry.record.get("shortfall", 0))
        for trajectory in entry.trajectories:
            report.trajectories += 1
            report.wrong += not trajectory.correct
            report.sources[trajectory.source] = report.sources.get(trajectory.source, 0) + 1
            length = len(trajectory.steps)
            report.lengths[length] = report.lengths.get(length, 0) + 1


def _sound_rows(path: Path, listed: Mapping[str, Any]) -> tuple[list[Row], int]:
    try:
        # Not open_segment: a file of the wrong size may still hold sound entries.
        segment = Segment(path / listed["file"])
    except StoreError:
        return [], listed["entries"]
    rows = []
    for row in range(len(segment)):
        try:
            segment.entry(row)
            rows.append(segment.raw(row))
        except (StoreError, ValueError):
            continue
    return rows, listed["entries"] - len(rows)
