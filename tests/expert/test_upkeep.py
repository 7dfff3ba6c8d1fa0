"""Validate finds every kind of damage, repair keeps the rest, merge loses and doubles nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from medeyes_verl.expert.manifest import new_segment, read_manifest, write_manifest
from medeyes_verl.expert.segment import Entry, encode
from medeyes_verl.expert.store import StoreError, StoreWriter, TrajectoryStore
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


def spoil(path: Path, keep: int) -> Path:
    file = sorted(path.glob("segment-*"), key=lambda each: each.stat().st_size)[-1]
    content = file.read_bytes()
    if keep:
        file.write_bytes(content[:keep])
    else:
        place = content.index(b'"answer":"ring"')
        file.write_bytes(content[:place] + b"X" + content[place + 1 :])
    return file


@pytest.mark.parametrize(("keep", "lost"), [(0, 1), (100, 4)])
def test_damage_is_found_and_the_rest_is_kept(tmp_path: Path, keep: int, lost: int) -> None:
    path = filled(tmp_path / "s", "abc")
    file = spoil(path, keep)
    assert any(file.name in line for line in check_store(path).damage)
    assert repair_store(path) == lost
    assert check_store(path).damage == []
    assert len(TrajectoryStore(path)) == 4 - lost
    assert (path / f"damaged-{file.name}").exists()
    filled(path, "abc")
    assert len(TrajectoryStore(path)) == 4


def test_a_lost_segment_is_repaired_too(tmp_path: Path) -> None:
    path = filled(tmp_path / "s", "a", commit_entries=1)
    sorted(path.glob("segment-*"))[0].unlink()
    assert repair_store(path) == 1
    assert len(TrajectoryStore(path)) == 1


def test_repairing_a_sound_store_changes_nothing(tmp_path: Path) -> None:
    path = filled(tmp_path / "s", "abc")
    before = read_manifest(path)
    assert repair_store(path) == 0
    assert read_manifest(path) == before


def test_an_entry_written_twice_is_found(tmp_path: Path) -> None:
    path = filled(tmp_path / "s", "a")
    again = new_segment(path, [encode(Entry("a", (trajectory("a"),)))])
    write_manifest(path, [*read_manifest(path), again])
    assert any("'a' is in the store twice" in line for line in check_store(path).damage)


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
