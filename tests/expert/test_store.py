"""The store: what is committed is found, by every reader, whole, and nothing else is."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
from pathlib import Path

import pytest

from medeyes_verl.expert import manifest, segment, store
from medeyes_verl.expert.store import StoreError, StoreWriter, TrajectoryStore
from medeyes_verl.expert.trajectory import ExpertStep, Trajectory
from medeyes_verl.gaze.geometry import Box


def trajectory(expert_id: str, answer: str = "ring") -> Trajectory:
    steps = (ExpertStep("scan", Box(0, 56, 112, 168), confidence=0.5), ExpertStep("näher", Box(1, 2, 3.5, 4), image=2))
    return Trajectory(expert_id, steps, "ring seen", answer, answer == "ring", "scripted")


def filled(path: Path, ids: list[str]) -> Path:
    with StoreWriter(path) as writer:
        for expert_id in ids:
            writer.add(expert_id, [trajectory(expert_id), trajectory(expert_id, "bar")], {"seed": 1})
    return path


def test_what_is_written_is_found_again(tmp_path: Path) -> None:
    ids = [f"q{number}" for number in range(500)]
    reader = TrajectoryStore(filled(tmp_path / "s", ids))
    assert len(reader) == 500
    assert sorted(reader.ids()) == sorted(ids)
    for expert_id in ids:
        assert reader.get(expert_id) == [trajectory(expert_id), trajectory(expert_id, "bar")]
    assert reader.get("nobody") == []
    assert "nobody" not in reader
    entry = reader.entry("q7")
    assert entry is not None
    assert entry.record == {"seed": 1}


def test_a_question_without_trajectories_is_known(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "s") as writer:
        writer.add("none", [])
    reader = TrajectoryStore(tmp_path / "s")
    assert "none" in reader
    assert reader.get("none") == []


def test_equal_hashes_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (segment, store):
        monkeypatch.setattr(module, "key_of", lambda expert_id: 7)
    reader = TrajectoryStore(filled(tmp_path / "s", ["a", "b", "c"]))
    assert [reader.get(each)[0].expert_id for each in "abc"] == ["a", "b", "c"]
    assert reader.get("d") == []


def test_readers_see_a_commit_whole_and_without_reopening(tmp_path: Path) -> None:
    path = filled(tmp_path / "s", ["a"])
    reader = TrajectoryStore(path)
    writer = StoreWriter(path, commit_entries=1_000, commit_seconds=1_000)
    writer.add("b", [trajectory("b")])
    assert reader.get("b") == []
    writer.commit()
    assert reader.get("b") == [trajectory("b")]


def test_commits_by_count_and_by_time(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "s", commit_entries=2, commit_seconds=1_000)
    writer.add("a", [trajectory("a")])
    assert len(TrajectoryStore(tmp_path / "s")) == 0
    writer.add("b", [trajectory("b")])
    assert len(TrajectoryStore(tmp_path / "s")) == 2
    writer = StoreWriter(tmp_path / "s", commit_entries=1_000, commit_seconds=0)
    writer.add("c", [trajectory("c")])
    assert len(TrajectoryStore(tmp_path / "s")) == 3


def test_an_exception_loses_no_whole_entry(tmp_path: Path) -> None:
    def interrupted() -> None:
        with StoreWriter(tmp_path / "s") as writer:
            writer.add("a", [trajectory("a")])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(TrajectoryStore(tmp_path / "s")) == 1


def test_two_builds_into_one_store_keep_the_first(tmp_path: Path) -> None:
    one, two = StoreWriter(tmp_path / "s"), StoreWriter(tmp_path / "s")
    one.add("a", [trajectory("a", "first")])
    two.add("a", [trajectory("a", "second")])
    two.add("b", [trajectory("b")])
    one.commit()
    two.commit()
    reader = TrajectoryStore(tmp_path / "s")
    assert len(reader) == 2
    assert reader.get("a")[0].answer == "first"
    assert (one.skipped, two.skipped) == (0, 1)
    assert not two.add("a", [])
    assert two.skipped == 2


def append(path: Path, name: str, count: int) -> None:
    with StoreWriter(path, commit_entries=5) as writer:
        for number in range(count):
            writer.add(f"{name}{number}", [trajectory(f"{name}{number}")])


def test_processes_append_at_once(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=append, args=(tmp_path / "s", name, 60)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    reader = TrajectoryStore(tmp_path / "s")
    assert len(reader) == 180
    assert all(reader.get(f"{name}{number}") for name in "abc" for number in range(60))


def test_small_segments_are_merged_and_old_readers_go_on(tmp_path: Path) -> None:
    path = filled(tmp_path / "s", ["first"])
    early = TrajectoryStore(path)
    append(path, "x", 5 * 4 * store.MAX_SMALL_SEGMENTS)
    files = list(path.glob("segment-*"))
    assert len(files) == len(manifest.read_manifest(path)) < store.MAX_SMALL_SEGMENTS
    assert early.get("first") == [trajectory("first"), trajectory("first", "bar")]
    assert len(TrajectoryStore(path)) == 1 + 5 * 4 * store.MAX_SMALL_SEGMENTS


@pytest.mark.parametrize("place", ["write_segment", "new_segment", "write_manifest", "os.replace"])
def test_a_writer_killed_anywhere_leaves_a_whole_store(tmp_path: Path, place: str) -> None:
    """kill -9 just before, during and after the moves of a commit; the next build goes on."""
    path = filled(tmp_path / "s", ["a"])

    def die_at_commit() -> None:
        def die(*_: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        if place == "os.replace":
            manifest.os.replace = die  # type: ignore[assignment]
        elif place == "write_segment":
            manifest.write_segment = lambda target, rows: (target.write_bytes(b"ARROW1"), die())  # type: ignore[assignment]
        else:
            setattr(store, place, die)
        with StoreWriter(path) as writer:
            writer.add("b", [trajectory("b")])

    victim = multiprocessing.get_context("fork").Process(target=die_at_commit)
    victim.start()
    victim.join()
    assert victim.exitcode == -signal.SIGKILL
    assert list(TrajectoryStore(path).ids()) == ["a"]
    filled(path, ["b"])
    assert sorted(TrajectoryStore(path).ids()) == ["a", "b"]
    assert not list(path.glob(".manifest*"))
    assert len(list(path.glob("*segment*"))) == 2
    assert not list(path.glob(".segment*"))


def test_a_reader_travels_as_its_path(tmp_path: Path) -> None:
    reader = TrajectoryStore(filled(tmp_path / "s", ["a"]))
    blob = pickle.dumps(reader)
    assert len(blob) < 500
    assert pickle.loads(blob).get("a") == reader.get("a")


def test_a_damaged_byte_is_an_error_and_never_a_wrong_trajectory(tmp_path: Path) -> None:
    path = filled(tmp_path / "s", ["a", "b"])
    file = next(path.glob("segment-*"))
    content = file.read_bytes()
    place = content.index(b'"answer":"ring"') + len('"answer":"')
    file.write_bytes(content[:place] + b"king" + content[place + 4 :])
    reader = TrajectoryStore(path)
    # The entries are sorted by hash: the first "answer" in the file may be a's or b's.
    hit, spared = sorted("ab", key=segment.key_of)
    with pytest.raises(StoreError, match=rf"{file.name}: entry 0 is damaged"):
        reader.get(hit)
    assert reader.get(spared)[0] == trajectory(spared)


@pytest.mark.parametrize("keep", [0, 10, 0.5, -1])
def test_a_segment_cut_off_is_a_clear_error(tmp_path: Path, keep: float) -> None:
    path = filled(tmp_path / "s", ["a"])
    file = next(path.glob("segment-*"))
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep) if keep == 0.5 else int(keep)])
    with pytest.raises(StoreError, match=rf"{file.name}.*--repair"):
        TrajectoryStore(path)


def test_a_segment_gone_is_a_clear_error(tmp_path: Path) -> None:
    path = filled(tmp_path / "s", ["a"])
    file = next(path.glob("segment-*"))
    file.unlink()
    with pytest.raises(StoreError, match=rf"{file.name}.*gone"):
        TrajectoryStore(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format": "other", "version": 1, "segments": []}',
        '{"format": "medeyes-trajectories", "version": 2, "segments": []}',
        '{"format": "medeyes-trajectories", "version": 1, "segments": [{"file": "../../etc/passwd"}]}',
        '{"format": "medeyes-trajectories", "version": 1, "segments": [{"file": 3}]}',
        '{"format": "medeyes-trajectories", "version": 1}',
    ],
)
def test_a_foreign_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match=r"manifest\.json"):
        TrajectoryStore(tmp_path)
    with pytest.raises(StoreError, match=r"manifest\.json"):
        StoreWriter(tmp_path)
    assert (tmp_path / "manifest.json").read_text() == text


def test_no_store_and_a_strange_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no trajectory store"):
        TrajectoryStore(tmp_path / "absent")
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"thesis\.txt"):
        StoreWriter(tmp_path)


def test_segments_without_a_manifest_are_not_thrown_away(tmp_path: Path) -> None:
    path = filled(tmp_path / "s", ["a"])
    (path / "manifest.json").unlink()
    with pytest.raises(StoreError, match="segment-"):
        StoreWriter(path)
    assert len(list(path.glob("segment-*"))) == 1


def test_a_trajectory_under_another_id_is_refused(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "s")
    with pytest.raises(ValueError, match="'a' was added under 'b'"):
        writer.add("b", [trajectory("a")])


def test_the_manifest_is_readable_and_versioned(tmp_path: Path) -> None:
    content = json.loads((filled(tmp_path / "s", ["a"]) / "manifest.json").read_text())
    assert (content["format"], content["version"]) == ("medeyes-trajectories", 1)
    assert [each["entries"] for each in content["segments"]] == [1]
