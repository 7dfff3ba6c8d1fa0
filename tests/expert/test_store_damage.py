"""Damage: the process never crashes, and no trajectory is lost or changed without an error that names the file."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from medeyes_verl.expert.entry_file import StoreError
from medeyes_verl.expert.store import FILE, StoreWriter, TrajectoryStore
from medeyes_verl.expert.trajectory import ExpertStep, Trajectory
from medeyes_verl.expert.upkeep import check_store, repair_store
from medeyes_verl.gaze.geometry import Box


def made(number: int) -> list[Trajectory]:
    rng = random.Random(number)
    steps = tuple(ExpertStep(f"scan {rng.random()}", Box(0, 0, 9 + x, 9)) for x in range(rng.randrange(4)))
    return [Trajectory(f"q{number}", steps, f"seen {rng.random()}", "ring", True, "scripted")] * (number % 4)


def filled(path: Path, count: int = 100) -> Path:
    with StoreWriter(path, commit_entries=40) as writer:
        for number in range(count):
            writer.add(f"q{number}", made(number), {"words": "x" * (5_000 if number == 70 else 9)})
    return path


def spoil(file: Path, rng: random.Random) -> None:
    content = bytearray(file.read_bytes())
    place = rng.randrange(len(content))
    if rng.random() < 0.2:
        place %= 8_192  # the header, the schema and the promise, which a place drawn from all of the file seldom hits
    kind = rng.randrange(6)
    if kind == 0:
        content[place] ^= 1 << rng.randrange(8)
    elif kind == 1:
        content[place : place + 16] = rng.randbytes(16)
    elif kind == 2:
        content[place : place + 512] = bytes(512)
    elif kind == 3:
        del content[place:]
    elif kind == 4:  # a page written to the wrong place
        other = rng.randrange(len(content)) // 4096 * 4096
        start = place // 4096 * 4096
        content[start : start + 4096] = content[other : other + 4096]
    else:
        content += rng.randbytes(100)
    file.write_bytes(content)


def test_random_damage_is_an_error_and_never_a_lost_or_changed_row(tmp_path: Path) -> None:
    """In this process: a crash would end the tests."""
    sound, path, rng = filled(tmp_path / "sound"), tmp_path / "copy", random.Random(0)
    outcomes: Counter[str] = Counter()
    for _ in range(200):
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(sound, path)
        spoil(path / FILE, rng)
        errors: list[str] = []
        try:
            store = TrajectoryStore(path)
        except StoreError as error:
            outcomes["refused, named" if FILE in str(error) else str(error)] += 1
            continue
        for number in range(100):
            try:
                assert store.get(f"q{number}") == made(number)
            except StoreError as error:
                errors.append(str(error))
        for unknown in ("", "q100", "q1x"):
            try:
                assert store.get(unknown) == []
            except StoreError as error:
                errors.append(str(error))
        try:
            assert sorted(store.ids()) == sorted(f"q{number}" for number in range(100))
            assert len(store) == 100
        except StoreError as error:
            errors.append(str(error))
        assert all(FILE in each for each in errors)
        outcomes["error" if errors else "no effect"] += 1
        assert not errors or check_store(path).damage
    assert outcomes["refused, named"] > 10
    assert outcomes["error"] > 50


def test_a_page_in_the_place_of_another_ends_no_reading(tmp_path: Path) -> None:
    """Its rows come twice, or out of order: a reading that goes on behind the last row it saw would never end."""
    path = filled(tmp_path / "s")
    file = path / FILE
    content = file.read_bytes()
    pages = [content[start : start + 4096] for start in range(0, len(content), 4096)]
    ids = [f"q{number}" for number in range(100)]
    raised = 0
    for place in range(1, len(pages)):
        for other in {1, place - 1, place + 1, len(pages) - 1} & set(range(1, len(pages))) - {place}:
            file.write_bytes(b"".join([*pages[:place], pages[other], *pages[place + 1 :]]))
            try:
                assert list(TrajectoryStore(path).ids()) == ids
            except StoreError:
                raised += 1
            assert check_store(path).damage
    assert raised > len(pages)


def test_repair_keeps_what_can_be_read(tmp_path: Path) -> None:
    sound, path, rng = filled(tmp_path / "sound"), tmp_path / "copy", random.Random(1)
    kept = []
    for _ in range(25):
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(sound, path)
        spoil(path / FILE, rng)
        damaged = bool(check_store(path).damage)
        lost = repair_store(path)
        assert check_store(path).damage == []
        store = TrajectoryStore(path)
        assert all(store.get(each) == made(int(each[1:])) for each in store.ids())
        assert damaged == any(path.glob("damaged-*"))
        assert len(store) + lost == 100 or len(store) == 0 or not damaged
        kept.append(len(store))
        filled(path)
        assert len(TrajectoryStore(path)) == 100
    assert sorted(kept)[len(kept) // 2] > 80


def lose(path: Path, statements: list[str]) -> None:
    with sqlite3.connect(path / FILE) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


def test_a_row_taken_out_is_missed(tmp_path: Path) -> None:
    """What no checksum of a row can tell: the row is not there."""
    path = filled(tmp_path / "s")
    lose(path, ["DELETE FROM entries WHERE expert_id = 'q7'"])
    store = TrajectoryStore(path)
    with pytest.raises(StoreError, match=r"99 of 100 entries are found"):
        store.get("q7")
    with pytest.raises(StoreError, match="99 of 100"):
        list(store.ids())
    assert any("99 of 100" in line for line in check_store(path).damage)
    assert repair_store(path) == 1


def test_a_row_under_another_id_is_missed(tmp_path: Path) -> None:
    path = filled(tmp_path / "s")
    lose(path, ["UPDATE entries SET expert_id = 'else' WHERE expert_id = 'q7'"])
    store = TrajectoryStore(path)
    with pytest.raises(StoreError, match="a question id is damaged"):
        store.get("q7")
    with pytest.raises(StoreError, match="'else' is damaged: its checksum"):
        store.get("else")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE promise SET entries = 3", "the number of its entries is damaged"),
        ("DELETE FROM promise", "the number of its entries is damaged"),
        ("CREATE TABLE mine (x)", "its tables are not"),
        ("CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM entries; END", "its tables are not"),
        ("DROP TABLE entries", "its tables are not"),
        ("PRAGMA user_version = 9", "format version 9; this medeyes-verl reads version 2"),
        ("PRAGMA application_id = 9", "not a trajectory store"),
    ],
)
def test_another_file_is_refused_by_name(tmp_path: Path, statement: str, message: str) -> None:
    path = filled(tmp_path / "s", 5)
    lose(path, [statement])
    for open_it in (TrajectoryStore, StoreWriter):
        with pytest.raises(StoreError, match=message):
            open_it(path)


def test_a_row_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(tmp_path / "s", 5)
    monkeypatch.setattr("medeyes_verl.expert.entry_file.MAX_BYTES", 20)
    with pytest.raises(StoreError, match="'q1' is damaged: its content is cut off or too long"):
        TrajectoryStore(path).get("q1")
    with pytest.raises(ValueError, match="more than a store takes"):
        StoreWriter(path).add("new", [], {"long": "x" * 99})
