"""The same rows in SQLite, LMDB, Lance and memory-mapped Arrow files: speed, size, damage, kill -9.

Run by `bench_experts.py formats`. Every candidate keeps a value with its CRC under a text key; a commit is durable.
LMDB and Lance are measured where they are installed.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

COMMIT_ROWS = 2_048
FORK = multiprocessing.get_context("fork")  # the parent opens no store
Row = tuple[str, bytes]


class Candidate(Protocol):
    """One format: opened on a folder, for reading or writing."""

    def put(self, rows: Sequence[Row]) -> None: ...
    def get(self, key: str) -> bytes | None: ...


class Sqlite:
    journal = "delete"

    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(folder / "store.sqlite", isolation_level=None, timeout=60)
        self._db.execute(f"PRAGMA journal_mode={self.journal}")
        self._db.execute("CREATE TABLE IF NOT EXISTS entries (id TEXT PRIMARY KEY, value BLOB) STRICT")

    def put(self, rows: Sequence[Row]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT INTO entries VALUES (?, ?)", rows)
        self._db.execute("COMMIT")

    def get(self, key: str) -> bytes | None:
        found = self._db.execute("SELECT value FROM entries WHERE id = ?", (key,)).fetchone()
        return found[0] if found else None


class SqliteWal(Sqlite):
    journal = "wal"


class Lmdb:
    def __init__(self, folder: Path) -> None:
        import lmdb

        self._env = lmdb.open(str(folder), map_size=1 << 33)

    def put(self, rows: Sequence[Row]) -> None:
        with self._env.begin(write=True) as transaction:
            for key, value in rows:
                transaction.put(key.encode(), value)

    def get(self, key: str) -> bytes | None:
        with self._env.begin() as transaction:
            return transaction.get(key.encode())


class Lance:
    def __init__(self, folder: Path) -> None:
        import lance

        self._lance, self._path = lance, folder / "store.lance"

    def put(self, rows: Sequence[Row]) -> None:
        table = pa.table({"id": [key for key, _ in rows], "value": pa.array([v for _, v in rows], pa.large_binary())})
        mode = "append" if self._path.exists() else "create"
        data = self._lance.write_dataset(table, str(self._path), mode=mode)
        if mode == "create":
            data.create_scalar_index("id", "BTREE")
        else:
            data.optimize.optimize_indices()

    def get(self, key: str) -> bytes | None:
        self._data = getattr(self, "_data", None) or self._lance.dataset(str(self._path))
        found = self._data.to_table(columns=["value"], filter=f"id = '{key}'").column(0).to_pylist()
        return found[0] if found else None


class Arrow:
    """Sorted, immutable, memory-mapped segments and a manifest: the format before SQLite."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._manifest = folder, folder / "manifest.json"
        self._segments: list[Any] | None = None

    def put(self, rows: Sequence[Row]) -> None:
        listed = json.loads(self._manifest.read_text()) if self._manifest.exists() else []
        name = f"segment-{len(listed)}.arrow"
        ordered = sorted((_key(key), key, value) for key, value in rows)
        columns = [pa.array([row[place] for row in ordered], kind) for place, kind in enumerate(
            (pa.uint64(), pa.large_string(), pa.large_binary()))]  # fmt: skip
        batch = pa.record_batch(columns, ["key", "id", "value"])
        with open(self._folder / name, "wb") as file:
            with pa.ipc.new_file(file, batch.schema) as writer:
                writer.write_batch(batch)
            file.flush()
            os.fsync(file.fileno())
        temporary = self._folder / ".manifest"
        with open(temporary, "w") as text:
            json.dump([*listed, {"file": name, "bytes": (self._folder / name).stat().st_size}], text)
            text.flush()
            os.fsync(text.fileno())
        os.replace(temporary, self._manifest)

    def get(self, key: str) -> bytes | None:
        if self._segments is None:
            segments = []
            for listed in json.loads(self._manifest.read_text()):
                file = self._folder / listed["file"]
                if file.stat().st_size != listed["bytes"]:
                    raise ValueError(f"{file}: cut off")
                batch = pa.ipc.open_file(pa.memory_map(str(file))).get_batch(0)
                keys = np.frombuffer(batch.column(0).buffers()[1], np.uint64, batch.num_rows)
                segments.append((keys, batch))
            self._segments = segments
        for keys, batch in self._segments:
            row = int(np.searchsorted(keys, np.uint64(_key(key))))
            if row < len(keys) and batch.column(1)[row].as_py() == key:
                return batch.column(2)[row].as_py()
        return None


def _key(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


CANDIDATES: dict[str, Any] = {"sqlite": Sqlite, "sqlite-wal": SqliteWal, "arrow": Arrow}
CANDIDATES |= {"lmdb": Lmdb} if find_spec("lmdb") else {}
CANDIDATES |= {"lance": Lance} if find_spec("lance") else {}


def checked(value: bytes) -> bytes:
    return zlib.crc32(value).to_bytes(4, "little") + value


def _content(found: bytes) -> bytes:
    if zlib.crc32(found[4:]) != int.from_bytes(found[:4], "little"):
        raise ValueError("the checksum does not hold")
    return found[4:]


def measure(name: str, rows: Sequence[Row], seconds: float, workers: int) -> dict[str, float]:
    """Rows written per second in durable commits, gets and misses per second, and size."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        writer = _forked(_write_all, name, folder, rows)
        rates = {"written_per_second": len(rows) / writer, "megabytes": _bytes(folder) / 1e6}
        for count in (1, workers):
            queue = FORK.Queue()
            keys = [key for key, _ in rows]
            readers = [FORK.Process(target=_read_on, args=(name, folder, keys, seconds, seed, queue))
                       for seed in range(count)]  # fmt: skip
            for reader in readers:
                reader.start()
            found = [queue.get(timeout=300) for _ in readers]
            for reader in readers:
                reader.join()
            rates[f"gets_per_second_{count}"] = sum(gets for gets, _, _ in found) / seconds
            rates[f"misses_per_second_{count}"] = sum(misses for _, misses, _ in found) / seconds
            rates[f"ms_a_get_{count}"] = 1e3 * sum(busy for *_, busy in found) / sum(gets for gets, *_ in found)
        return rates


def damage(name: str, rows: Sequence[Row], times: int) -> Counter[str]:
    """Outcomes of reading every row of stores with one random damage each."""
    outcomes: Counter[str] = Counter()
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as text:
        sound, copy = Path(text) / "sound", Path(text) / "copy"
        sound.mkdir()
        _forked(_write_all, name, sound, rows, 100)
        ours, reader = _damage_reader(name, copy, rows)
        for _ in range(times):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(sound, copy)
            _spoil(copy, rng)
            ours.send(True)
            try:
                outcomes[ours.recv() if ours.poll(20) else "hang"] += 1
                continue
            except EOFError:
                reader.join()
                outcomes[f"crash ({signal.Signals(-(reader.exitcode or 0)).name})"] += 1
            ours, reader = _damage_reader(name, copy, rows)
        reader.kill()
    return outcomes


def _damage_reader(name: str, copy: Path, rows: Sequence[Row]) -> tuple[Connection, Any]:
    ours, theirs = FORK.Pipe()
    reader = FORK.Process(target=_read_damaged, args=(name, copy, rows, theirs))
    reader.start()
    theirs.close()  # so that a crash is an end of file
    return ours, reader


def kill(name: str, rows: Sequence[Row], times: int) -> Counter[str]:
    """Outcomes of kill -9 while a writer commits: is every acknowledged row there, and the store writable?"""
    outcomes: Counter[str] = Counter()
    rng = random.Random(0)
    for _ in range(times):
        with tempfile.TemporaryDirectory() as text:
            ours, theirs = FORK.Pipe()
            writer = FORK.Process(target=_write_until_killed, args=(name, Path(text), rows, theirs))
            writer.start()
            theirs.close()
            done = ours.recv()
            time.sleep(rng.random() * 0.05)
            writer.kill()
            writer.join()
            while ours.poll():
                try:
                    done = ours.recv()
                except EOFError:
                    break
            result = FORK.Queue()
            reader = FORK.Process(target=_read_after_kill, args=(name, Path(text), rows, done, result))
            reader.start()
            outcomes[result.get(timeout=60)] += 1
            reader.join()
    return outcomes


def _forked(target: Any, *arguments: Any) -> float:
    queue = FORK.Queue()
    process = FORK.Process(target=target, args=(*arguments, queue))
    process.start()
    seconds = float(queue.get(timeout=600))
    process.join()
    return seconds


def _write_all(name: str, folder: Path, rows: Sequence[Row], *rest: Any) -> None:
    step = rest[0] if len(rest) > 1 else COMMIT_ROWS
    store = CANDIDATES[name](folder)
    start = time.perf_counter()
    for first in range(0, len(rows), step):
        store.put(rows[first : first + step])
    rest[-1].put(time.perf_counter() - start)


def _read_on(name: str, folder: Path, keys: Sequence[str], seconds: float, seed: int, queue: Any) -> None:
    store, rng = CANDIDATES[name](folder), random.Random(seed)
    counts = []
    busy = time.process_time()
    for suffix in ("", " unknown"):
        end, count = time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            for _ in range(20):
                found = store.get(rng.choice(keys) + suffix)
                assert (found is None) == bool(suffix)
            count += 20
        counts.append(count)
        if not suffix:
            busy = time.process_time() - busy
    queue.put((*counts, busy))


def _read_damaged(name: str, folder: Path, rows: Sequence[Row], pipe: Connection) -> None:
    while pipe.recv():
        pipe.send(_outcome(name, folder, rows))


def _outcome(name: str, folder: Path, rows: Sequence[Row]) -> str:
    lost = changed = errors = 0
    try:
        store: Candidate = CANDIDATES[name](folder)
    except BaseException:
        return "refused"
    for key, value in rows:
        try:
            found = store.get(key)
            lost += found is None
            changed += found is not None and _content(found) != value[4:]
        except BaseException:
            errors += 1
    return "changed in silence" if changed else "lost in silence" if lost else "refused" if errors else "no effect"


def _write_until_killed(name: str, folder: Path, rows: Sequence[Row], pipe: Connection) -> None:
    store = CANDIDATES[name](folder)
    for first in range(0, len(rows), 20):
        store.put(rows[first : first + 20])
        pipe.send(first + 20)


def _read_after_kill(name: str, folder: Path, rows: Sequence[Row], done: int, queue: Any) -> None:
    try:
        store = CANDIDATES[name](folder)
        whole = all(store.get(key) == value for key, value in rows[:done:7])  # a seventh: gets are slow in some
        store.put([("one more", checked(b"x"))])
        queue.put("whole" if whole else "rows lost")
    except BaseException as error:
        queue.put(f"{type(error).__name__}: {error}"[:80])


def _spoil(folder: Path, rng: random.Random) -> None:
    """One damage to one file, chosen by size: a bit, some bytes, a page of zeros, or a lost end."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.stat().st_size)
    file = rng.choices(files, [each.stat().st_size for each in files])[0]
    content = bytearray(file.read_bytes())
    place = rng.randrange(len(content))
    kind = rng.randrange(4)
    if kind == 0:
        content[place] ^= 1 << rng.randrange(8)
    elif kind == 1:
        content[place : place + 16] = rng.randbytes(len(content[place : place + 16]))
    elif kind == 2:
        content[place : place + 512] = bytes(len(content[place : place + 512]))
    else:
        del content[place:]
    file.write_bytes(content)


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


def report(names: Sequence[str], rows: Sequence[Row], seconds: float, workers: int, damages: int) -> Iterator[Any]:
    """One mapping of figures a candidate."""
    for name in names:
        figures: dict[str, Any] = {"format": name, **measure(name, rows, seconds, workers)}
        figures["damage"] = dict(damage(name, rows[:300], damages))
        figures["kill"] = dict(kill(name, rows[:2_000], 20))
        yield figures
