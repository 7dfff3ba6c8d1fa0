"""The store: what is committed is found, by every reader, whole, and nothing else is."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from medeyes_verl.expert import entry_file, store
from medeyes_verl.expert.store import StoreError, StoreWriter, TrajectoryStore
from medeyes_verl.expert.trajectory import ExpertStep, Trajectory
from medeyes_verl.expert.upkeep import check_store
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


def test_an_early_reader_sees_what_is_added_later(tmp_path: Path) -> None:
    path = filled(tmp_path / "s", ["first"])
    early = TrajectoryStore(path)
    assert early.get("x0") == []
    append(path, "x", 60)
    assert all(early.get(f"x{number}") for number in range(60))
    assert early.get("x60") == []
    assert list(early.ids()) == ["first", *(f"x{number}" for number in range(60))]
    assert len(early) == 61


@pytest.mark.parametrize("place", ["create", "insert", "commit"])
def test_a_writer_killed_anywhere_leaves_a_whole_store(tmp_path: Path, place: str) -> None:
    """kill -9 while the file is made, inside of a commit's transaction, and just after it; the next build resumes."""
    path = tmp_path / "s"
    if place != "create":
        filled(path, ["a"])

    def killed() -> None:
        def kill(*_: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        if place == "create":
            store.os.replace = kill  # type: ignore[assignment]
        elif place == "insert":
            entry_file.read_promise, read = (
                lambda db: (db.execute("PRAGMA cache_size=1"), read(db))[1],
                entry_file.read_promise,
            )  # type: ignore[assignment]
            entry_file._promise_row = kill  # type: ignore[assignment]
        with StoreWriter(path) as writer:
            for number in range(500):
                writer.add(f"b{number}", [trajectory(f"b{number}")])
            if place == "commit":
                writer.commit()
                kill()

    victim = multiprocessing.get_context("fork").Process(target=killed)
    victim.start()
    victim.join()
    assert victim.exitcode == -signal.SIGKILL
    committed = {"create": 0, "insert": 1, "commit": 501}[place]
    if place == "create":
        with pytest.raises(StoreError, match="no trajectory store"):
            TrajectoryStore(path)
    else:
        assert len(TrajectoryStore(path)) == len(list(TrajectoryStore(path).ids())) == committed
    filled(path, ["c"])
    assert len(TrajectoryStore(path)) == committed + 1
    assert check_store(path).damage == []
    assert {file.name for file in path.iterdir()} == {".lock", store.FILE}


def test_kill_9_at_any_time_keeps_every_acknowledged_commit(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")

    def write_on(acknowledge: Connection, first: int) -> None:
        writer = StoreWriter(tmp_path / "s", commit_entries=1_000, commit_seconds=1_000)
        for number in range(first, first + 10_000):
            writer.add(f"q{number}", [trajectory(f"q{number}")])
            if number % 20 == 19:
                writer.commit()
                acknowledge.send(number + 1)

    rng, known = random.Random(0), 0
    for _ in range(8):
        ours, theirs = fork.Pipe()
        victim = fork.Process(target=write_on, args=(theirs, known))
        victim.start()
        theirs.close()
        known = ours.recv()
        time.sleep(rng.random() * 0.05)
        victim.kill()
        victim.join()
        with suppress(EOFError):
            while ours.poll():
                known = ours.recv()
        reader = TrajectoryStore(tmp_path / "s")
        assert len(reader) in (known, known + 20)
        known = len(reader)
        assert all(reader.get(f"q{number}") for number in range(0, known, 7))
    assert check_store(tmp_path / "s").damage == []


def test_readers_in_forks_and_threads_share_a_store_object(tmp_path: Path) -> None:
    ids = [f"q{number}" for number in range(50)]
    reader = TrajectoryStore(filled(tmp_path / "s", ids))

    def read_all(_: int = 0) -> None:
        for expert_id in ids * 2:
            assert reader.get(expert_id) == [trajectory(expert_id), trajectory(expert_id, "bar")]
            assert reader.get(expert_id + "?") == []

    read_all()
    forks = [multiprocessing.get_context("fork").Process(target=read_all) for _ in range(3)]
    for each in forks:
        each.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read_all, range(8)))
    for each in forks:
        each.join()
        assert each.exitcode == 0


READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"
"""


def test_a_store_on_a_read_only_file_system_is_read(tmp_path: Path) -> None:
    path = filled(tmp_path / "s", ["a"])
    private = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", READ_ONLY, "sh", str(path)]
    if shutil.which("unshare") is None or subprocess.run([*private, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets no process mount a folder read-only for itself")
    code = (
        "import sys; from medeyes_verl.expert.store import TrajectoryStore as S; s = S(sys.argv[1]);"
        "print(len(s.get('a')), len(s.get('b')), list(s.ids()))"
    )
    done = subprocess.run([*private, sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.stdout == "2 0 ['a']\n", done.stderr
    with sqlite3.connect(path / store.FILE) as db:  # a commit left half done, as a killed writer leaves it
        db.execute("PRAGMA cache_size = 1")
        db.execute("CREATE TABLE filler AS SELECT randomblob(900) FROM entries, (VALUES (1), (2), (3), (4))")
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE filler SET rowid = rowid + 100")
        db.execute("INSERT INTO filler SELECT randomblob(9000) FROM filler, filler AS more")
        for name in (store.FILE, f"{store.FILE}-journal"):
            shutil.copy(path / name, tmp_path / name)
        db.rollback()
    db.close()
    for name in (store.FILE, f"{store.FILE}-journal"):
        shutil.copy(tmp_path / name, path / name)
    done = subprocess.run([*private, sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert "killed writer left a commit half done" in done.stderr


def test_a_reader_travels_as_its_path(tmp_path: Path) -> None:
    reader = TrajectoryStore(filled(tmp_path / "s", ["a"]))
    blob = pickle.dumps(reader)
    assert len(blob) < 500
    assert pickle.loads(blob).get("a") == reader.get("a")


@pytest.mark.parametrize("content", [b"", b"{", b"SQLite format 3\0", b"x" * 9_000])
def test_a_file_that_is_no_store_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    (tmp_path / store.FILE).write_bytes(content)
    for open_it in (TrajectoryStore, StoreWriter):
        with pytest.raises(StoreError, match=r"trajectories\.sqlite"):
            open_it(tmp_path)
    assert (tmp_path / store.FILE).read_bytes() == content


def test_no_store_and_a_strange_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no trajectory store"):
        TrajectoryStore(tmp_path / "absent")
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"thesis\.txt"):
        StoreWriter(tmp_path)


def test_what_lies_beside_a_lost_file_is_not_thrown_away(tmp_path: Path) -> None:
    path = filled(tmp_path / "s", ["a"])
    (path / store.FILE).rename(path / f"damaged-0-{store.FILE}")
    with pytest.raises(StoreError, match="damaged-"):
        StoreWriter(path)


def test_a_trajectory_under_another_id_is_refused(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "s")
    with pytest.raises(ValueError, match="'a' was added under 'b'"):
        writer.add("b", [trajectory("a")])


def test_the_file_is_versioned_and_readable_by_other_tools(tmp_path: Path) -> None:
    with sqlite3.connect(filled(tmp_path / "s", ["a"]) / store.FILE) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (entry_file.FORMAT_VERSION,)
        ((expert_id, packed),) = db.execute("SELECT expert_id, trajectories FROM entries")
    db.close()
    assert expert_id == "a"
    assert [each["answer"] for each in json.loads(zlib.decompress(packed))] == ["ring", "bar"]
