"""The spine: resuming after a kill, a full disk, a second writer, and the three ways rows refer to pictures."""

import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from medeyes_verl.data import parts
from medeyes_verl.data.image_source import FilePicture, SourceError
from medeyes_verl.data.image_store import ImageStore
from medeyes_verl.data.prepare import WORK_FOLDER, PrepareSettings, prepare
from medeyes_verl.data.record import Record, make_record
from medeyes_verl.data.row import read_rows
from medeyes_verl.distribution.engine import local_engine

CONSOLE = Console(file=io.StringIO())


def write_pictures(folder: Path, count: int) -> list[Path]:
    """Distinct files, quickly: what follows the end of a JPEG is not part of its picture."""
    folder.mkdir(parents=True)
    values = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "JPEG")
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(buffer.getvalue() + number.to_bytes(4, "big"))
    return paths


@pytest.fixture
def source(tmp_path):
    paths = write_pictures(tmp_path / "source", 12)

    def records() -> Iterator[Record]:
        for number, path in enumerate(paths):
            split = "test" if number >= 9 else "train"
            yield make_record(split, f"What is {number}?", "a cyst", (FilePicture(str(path)),), id=str(number))

    return SimpleNamespace(paths=paths, records=records)


@pytest.fixture
def small_parts(monkeypatch) -> None:
    monkeypatch.setattr(parts, "RECORDS_A_PART", 4)


def run(source, output: Path, **changes):
    settings = replace(PrepareSettings(output, near_copies=False), **changes)
    return prepare("fake", "here", source.records, settings, CONSOLE)


def answers(path: Path) -> list[tuple[str, int]]:
    return [(row["extra_info"]["id"], row["extra_info"]["index"]) for row in read_rows(path)]


def leftovers(output: Path) -> list[Path]:
    return [path for path in output.rglob("*") if path.name.startswith(".")]


def test_rows_keep_their_order_and_nothing_else_is_left(source, small_parts, tmp_path) -> None:
    summary = run(source, tmp_path / "out")
    assert answers(tmp_path / "out" / "train.parquet") == [(str(number), number) for number in range(9)]
    assert answers(tmp_path / "out" / "test.parquet") == [(str(number), number - 9) for number in range(9, 12)]
    assert (summary.parts, summary.parts_resumed, summary.rows, summary.images) == (3, 0, 12, 12)
    assert summary.image_bytes == sum(path.stat().st_size for path in source.paths)
    assert leftovers(tmp_path / "out") == []


def test_an_interrupted_run_goes_on_where_it_was(source, small_parts, tmp_path, monkeypatch) -> None:
    done = []

    def dies_at_the_third(root, data, name):
        if len(done) == 8:
            raise KeyboardInterrupt
        done.append(name)
        return original(root, data, name)

    original = ImageStore.add_bytes
    monkeypatch.setattr(ImageStore, "add_bytes", dies_at_the_third)
    parts._stored.cache_clear()
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / "out")
    assert not (tmp_path / "out" / "train.parquet").exists()
    monkeypatch.setattr(ImageStore, "add_bytes", lambda *arguments: done.append("") or original(*arguments))
    summary = run(source, tmp_path / "out")
    assert (summary.parts, summary.parts_resumed) == (3, 2)
    assert len(done) == 12, "no picture is read twice"
    assert answers(tmp_path / "out" / "train.parquet") == [(str(number), number) for number in range(9)]
    assert leftovers(tmp_path / "out") == []


def test_a_picture_that_was_mended_is_read_again(source, small_parts, tmp_path) -> None:
    good = source.paths[5].read_bytes()
    source.paths[5].write_bytes(good[:500])
    with pytest.raises(SourceError, match=r"the pictures of 1 questions cannot be used, first .*5\.jpg"):
        run(source, tmp_path / "out")
    source.paths[5].write_bytes(good)
    summary = run(source, tmp_path / "out")
    assert (summary.parts, summary.parts_resumed, summary.rows) == (3, 2, 12)


def test_a_second_writer_is_told(source, tmp_path) -> None:
    work = tmp_path / "out" / WORK_FOLDER
    work.mkdir(parents=True)
    holder = (
        "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.flock(f,fcntl.LOCK_EX); print('held',flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(work / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(SourceError, match="another run is writing"):
            run(source, tmp_path / "out")
        other.communicate("\n")
    run(source, tmp_path / "out")


def test_relative_rows_can_be_moved_with_their_folder(source, tmp_path) -> None:
    run(source, tmp_path / "out", images="relative")
    (tmp_path / "out").rename(tmp_path / "moved")
    for row in read_rows(tmp_path / "moved" / "train.parquet"):
        [name] = row["images"]
        assert name.startswith("images/")
        assert (tmp_path / "moved" / name).is_file()


def test_embedded_rows_need_no_folder(source, tmp_path) -> None:
    run(source, tmp_path / "out", images="embedded")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "summary.json",
        "test.parquet",
        "train.parquet",
    ]
    table = pq.read_table(tmp_path / "out" / "train.parquet").to_pylist()
    assert [row["images"] for row in table] == [[{"bytes": path.read_bytes()}] for path in source.paths[:9]]


def test_a_split_of_a_former_run_does_not_stay(source, tmp_path) -> None:
    run(source, tmp_path / "out", val_fraction=0.3)
    assert (tmp_path / "out" / "val.parquet").exists()
    run(source, tmp_path / "out")
    assert not (tmp_path / "out" / "val.parquet").exists()


def test_processes_give_what_one_gives(source, small_parts, tmp_path) -> None:
    run(source, tmp_path / "one")
    run(source, tmp_path / "two", workers=2)
    for name in ("train.parquet", "test.parquet"):
        one, two = (list(read_rows(tmp_path / folder / name)) for folder in ("one", "two"))
        for row in one + two:
            row["images"] = [Path(path).name for path in row["images"]]
        assert one == two


@pytest.mark.parametrize("workers", [1, 2])
def test_the_engine_takes_items_only_as_they_are_needed(workers: int) -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(1, 100):
            taken.append(number)
            yield number

    with local_engine(workers) as engine:
        results = engine(math.factorial, items())
        first = next(results)
        assert len(taken) <= 2 * workers + 1
        assert sorted([first, *results]) == [math.factorial(number) for number in range(1, 100)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_worker_reaches_the_caller(workers: int) -> None:
    with local_engine(workers) as engine, pytest.raises(ValueError, match="negative"):
        list(engine(math.factorial, [1, -1, 2]))


SCRIPT = """
import sys
from pathlib import Path
from rich.console import Console
from medeyes_verl.data.image_source import FilePicture
from medeyes_verl.data.prepare import PrepareSettings, prepare
from medeyes_verl.data.record import make_record

def records():
    for path in sorted(Path(sys.argv[1]).iterdir()):
        yield make_record("train", f"What is {path.stem}?", "a cyst", (FilePicture(str(path)),), id=path.stem)

if __name__ == "__main__":
    output = Path(sys.argv[2])
    settings = PrepareSettings(output, workers=2, near_copies=False)
    summary = prepare("fake", "here", records, settings, Console(quiet=True))
    print(summary.parts, summary.parts_resumed, summary.rows)
"""


def test_a_killed_run_leaves_nothing_that_breaks_the_next(tmp_path) -> None:
    write_pictures(tmp_path / "source", 1600)
    (tmp_path / "run.py").write_text(SCRIPT)
    output = tmp_path / "out"
    command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "source"), str(output)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, env=environment, start_new_session=True) as victim:
        deadline = time.monotonic() + 60
        while not list((output / WORK_FOLDER).glob("*.parquet")):
            assert victim.poll() is None, "it ended before its first part"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        victim.kill()  # the parent alone: its workers must follow
    wait_for_the_end_of_group(victim.pid)
    assert not (output / "train.parquet").exists()
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    number, resumed, rows = map(int, finished.stdout.split())
    assert (number, rows) == (4, 1600)
    assert resumed >= 1
    assert [name for name, _ in answers(output / "train.parquet")] == sorted(
        map(str, range(1600)), key=lambda n: f"{n}.jpg"
    )
    assert len(list((output / "images").rglob("*.jpg"))) == 1600
    assert leftovers(output) == []


def wait_for_the_end_of_group(group: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("workers outlived their parent")


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux's")
def test_a_full_disk_stops_the_run_and_room_lets_it_go_on(source, small_parts, tmp_path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, 160):
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 80_000)
        with pytest.raises(OSError, match="No space left on device"):
            run(source, disk / "out")
        assert not (disk / "out" / "train.parquet").exists()
        assert list((disk / "out").rglob("*.tmp")) == []
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=2m", str(disk)], check=True)
        summary = run(source, disk / "out")
        assert summary.rows == 12
        assert json.loads((disk / "out" / "summary.json").read_text())["splits"]["train"]["rows"] == 9
