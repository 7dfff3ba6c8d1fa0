"""Validate finds every kind of damage, repair keeps the rest, merge loses and doubles nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from medeyes_verl.expert.store import FILE, StoreError, StoreWriter, TrajectoryStore
from medeyes_verl.expert.trajectory import ExpertStep, Trajectory
from medeyes_verl.expert.upkeep import check_store, merge_stores, repair_store
from medeyes_verl.gaze.geometry import Box


def trajectory(expert_id: str, correct: bool = True) -> Trajectory:
    return Trajectory(expert_id, (ExpertStep("scan", Box(0, 0, 9, 9)),), "seen", "ring", correct, "scripted")


def filled(path: Path, ids: str, commit_entries: int = 100) -> Path:
    with StoreWriter(path, commit_entries=commit_entries) as writer:
        for each in ids:
            writer.add(each, [trajectory(each), trajectory(each, correct=False)], {"shortfall": 4})
        writer.add(f"no {ids}", [])
    return path


def test_a_sound_store_is_counted(tmp_path: Path) -> None:
    report = check_store(filled(tmp_path / "s", "abc", commit_entries=1))
    assert (report.questions, report.trajectories, report.wrong, report.empty, report.shortfall) == (4, 6, 3, 1, 12)
    assert (report.sources, report.lengths, report.damage) == ({"scripted": 6}, {1: 6}, [])


def test_damage_is_found_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = filled(tmp_path / "s", "abc")
    file = path / FILE
    content = file.read_bytes()
    place = content.rindex(TrajectoryStore(path)._row("a").trajectories) + 5  # type: ignore[union-attr]
    file.write_bytes(content[:place] + b"XX" + content[place + 2 :])
    (damage, missing) = check_store(path).damage
    assert "'a' is damaged: its checksum does not hold" in damage
    assert "3 of 4 entries are found" in missing
    assert repair_store(path) == 1
    assert check_store(path).damage == []
    assert sorted(TrajectoryStore(path).ids()) == ["b", "c", "no abc"]
    assert (path / f"damaged-0-{FILE}").exists()
    filled(path, "abc")
    assert len(TrajectoryStore(path)) == 4


def test_a_writer_goes_on_in_the_repaired_file(tmp_path: Path) -> None:
    path = filled(tmp_path / "s", "abc")
    writer = StoreWriter(path, commit_seconds=1_000)
    with sqlite3.connect(path / FILE) as db:
        db.execute("DELETE FROM entries WHERE expert_id = 'b'")
    db.close()
    assert repair_store(path) == 1
    writer.add("new", [trajectory("new")])
    writer.commit()
    assert sorted(TrajectoryStore(path).ids()) == ["a", "c", "new", "no abc"]


def test_repairing_a_sound_store_changes_nothing(tmp_path: Path) -> None:
    path = filled(tmp_path / "s", "abc")
    before = (path / FILE).read_bytes()
    assert repair_store(path) == 0
    assert (path / FILE).read_bytes() == before


def test_merge_keeps_the_first_and_can_be_repeated(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "one", "ab"), tmp_path / "two"
    with StoreWriter(two) as writer:
        writer.add("b", [])
        writer.add("c", [trajectory("c")])
    assert merge_stores(tmp_path / "all", [one, two]) == (4, 1)
    merged = TrajectoryStore(tmp_path / "all")
    assert sorted(merged.ids()) == ["a", "b", "c", "no ab"]
    assert merged.get("b") == TrajectoryStore(one).get("b") != []
    assert merged.entry("a") == TrajectoryStore(one).entry("a")
    assert merge_stores(tmp_path / "all", [one, two]) == (0, 5)


def test_merge_checks_its_sources_before_it_writes(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="absent"):
        merge_stores(tmp_path / "all", [filled(tmp_path / "one", "a"), tmp_path / "absent"])
    assert not (tmp_path / "all").exists()
