"""One SQLite file of trajectories: a row a question, each row and the set of rows checked.

SQLite finds most damage to its file itself and then raises. Two checksums find the rest, so that damage is an error
and never a wrong or a missing trajectory: a row's covers its id and its content, and the file's `promise` covers how
many questions there are and which. An id that is not found counts as unknown only after the promise was verified.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medeyes_verl.expert.trajectory import Trajectory

FORMAT_VERSION = 2
APPLICATION_ID = 0x4D454456
"""In SQLite's header, for `file` and other tools: "MEDV"."""
SCHEMA = (
    "CREATE TABLE entries (expert_id TEXT NOT NULL PRIMARY KEY, trajectories BLOB NOT NULL, record BLOB NOT NULL, "
    "checksum BLOB NOT NULL)",
    "CREATE TABLE promise (entries INTEGER NOT NULL, digest BLOB NOT NULL, checksum BLOB NOT NULL)",
)
MAX_BYTES = 64 << 20
"""Of one question's trajectories or record, as JSON."""
WAIT_SECONDS = 60.0
"""For another process's commit."""
PAGE_ROWS = 512
REMEDY = "run `medeyes-verl experts validate --repair` on the store, then build again"


class StoreError(Exception):
    """A trajectory store is damaged, foreign, or written by another version."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One question's trajectories, written once and together."""

    expert_id: str
    trajectories: tuple[Trajectory, ...]
    record: dict[str, Any] = field(default_factory=dict)
    """How they were made (decisions, shortfall, oracle), as JSON types; not read by a lookup for training."""


class Row(NamedTuple):
    """An encoded entry, in the order of the table's columns."""

    expert_id: str
    trajectories: bytes
    record: bytes
    checksum: bytes


@dataclass(frozen=True, slots=True)
class Promise:
    """Which questions the file holds: their number, and the sum of their keys modulo 2⁶⁴."""

    entries: int = 0
    digest: int = 0


def key_of(expert_id: str) -> int:
    """The 64-bit key of a question id."""
    return int.from_bytes(_digest(expert_id.encode()), "little")


def encode(entry: Entry) -> Row:
    """Raises ValueError where a record is not JSON or is too long."""
    trajectories = _packed([each.as_dict() for each in entry.trajectories])
    record = _packed(entry.record)
    return Row(entry.expert_id, trajectories, record, _checksum(entry.expert_id, trajectories, record))


def decode(row: Row, file: Path) -> Entry:
    """Raises StoreError where the row is not what was written."""
    try:
        if row.checksum != _checksum(row.expert_id, row.trajectories, row.record):
            raise ValueError("its checksum does not hold")
        trajectories = tuple(Trajectory.from_dict(row.expert_id, each) for each in _unpacked(row.trajectories))
        return Entry(row.expert_id, trajectories, _unpacked(row.record))
    except (ValueError, TypeError, zlib.error, RecursionError) as error:
        raise StoreError(f"{file}: the entry of question {row.expert_id!r} is damaged: {error}; {REMEDY}") from error


def create(file: Path) -> None:
    """Make an empty file. For a name that no other process uses: callers rename it into place."""
    with named(file), closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("BEGIN")
        for statement in (f"PRAGMA application_id={APPLICATION_ID}", f"PRAGMA user_version={FORMAT_VERSION}", *SCHEMA):
            db.execute(statement)
        db.execute("INSERT INTO promise VALUES (?, ?, ?)", _promise_row(Promise()))
        db.execute("COMMIT")


def connect(file: Path, checked: bool = True) -> sqlite3.Connection:
    """Open an existing file. Raises StoreError where it is not ours (if `checked`), sqlite3.Error (see `named`).

    A commit that a killed writer left half done is rolled back here where the folder can be written.
    """
    # mode=rw reads where it may not write, and never makes a file
    uri = file.absolute().as_uri() + "?mode=rw"
    db = sqlite3.connect(uri, uri=True, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0"):
            db.execute(f"PRAGMA {pragma}")
        if not checked:
            return db
        application, version = (
            db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if application != APPLICATION_ID:
            raise StoreError(f"{file}: not a trajectory store (SQLite's application id is {application})")
        if version != FORMAT_VERSION:
            raise StoreError(f"{file}: format version {version}; this medeyes-verl reads version {FORMAT_VERSION}")
        schema = {sql for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
        if schema != set(SCHEMA):
            raise StoreError(f"{file}: its tables are not a trajectory store's; {REMEDY}")
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def named(file: Path) -> Iterator[None]:
    """Turn SQLite's errors into a StoreError with the file and the remedy."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError, OverflowError, MemoryError) as error:
        text = str(error)
        remedy = f"the file is damaged: {REMEDY}"
        if "locked" in text:
            remedy = f"another process has kept it locked for {WAIT_SECONDS:.0f} s, or the file system has no locks"
        elif "readonly" in text:
            remedy = "a killed writer left a commit half done; open the store once where its folder can be written"
        elif "unable to open" in text or "disk I/O" in text or "is full" in text:
            remedy = "check the file's permissions, the space on its file system, and whether that offers locks"
        raise StoreError(f"{file}: {text or type(error).__name__}; {remedy}") from error


def insert(db: sqlite3.Connection, rows: Iterable[Row]) -> int:
    """Add rows in one transaction, but those whose question is there already; return how many were added."""
    with _transaction(db, "IMMEDIATE"):
        promise, added = read_promise(db), 0
        for row in rows:
            if db.execute("INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?)", row).rowcount:
                promise = Promise(promise.entries + 1, (promise.digest + key_of(row.expert_id)) % 2**64)
                added += 1
        db.execute("UPDATE promise SET entries = ?, digest = ?, checksum = ?", _promise_row(promise))
    return added


def select(db: sqlite3.Connection, expert_id: str) -> Row | None:
    query = "SELECT trajectories, record, checksum FROM entries WHERE expert_id = ?"
    found = db.execute(query, (expert_id,)).fetchone()
    # the id is the one asked for, not the stored one: a row of another question has another checksum
    return Row(expert_id, *found) if found else None


def read_promise(db: sqlite3.Connection) -> Promise:
    """Raises StoreError where it is not what was written."""
    rows = db.execute("SELECT entries, digest, checksum FROM promise").fetchall()
    if len(rows) == 1 and isinstance(rows[0][0], int) and isinstance(rows[0][1], bytes):
        promise = Promise(rows[0][0], int.from_bytes(rows[0][1], "little"))
        if 0 <= promise.entries < 2**63 and promise.digest < 2**64 and _promise_row(promise) == rows[0]:
            return promise
    raise StoreError(f"{_file_of(db)}: the number of its entries is damaged; {REMEDY}")


class KnownKeys:
    """The keys of all entries up to a row, verified against the promise: what tells an unknown from a lost one."""

    def __init__(self, keys_E: NDArray[np.uint64] | None = None, promise: Promise | None = None, last: int = 0) -> None:
        self._keys_E = np.empty(0, np.uint64) if keys_E is None else keys_E  # sorted
        self._promise, self._last = promise or Promise(), last

    def __contains__(self, expert_id: str) -> bool:
        key = np.uint64(key_of(expert_id))
        place = int(np.searchsorted(self._keys_E, key))
        return place < len(self._keys_E) and bool(self._keys_E[place] == key)

    def extended(self, db: sqlite3.Connection) -> KnownKeys:
        """With what was added since. Raises StoreError where the file holds other questions than its promise says.

        To be called inside of a transaction.
        """
        promise = read_promise(db)
        if promise == self._promise:
            return self
        # the index alone is read where all ids are wanted
        where = f"WHERE rowid > {self._last}" if self._last else "INDEXED BY sqlite_autoindex_entries_1"
        keys, last = [], self._last
        for rowid, expert_id in db.execute(f"SELECT rowid, expert_id FROM entries {where}"):
            keys.append(key_of(str(expert_id)))
            last = max(last, rowid)
            if len(self._keys_E) + len(keys) > promise.entries:
                break
        count, digest = len(self._keys_E) + len(keys), (self._promise.digest + sum(keys)) % 2**64
        if Promise(count, digest) != promise:
            raise lost(_file_of(db), promise, count)
        return KnownKeys(np.sort(np.concatenate([self._keys_E, np.array(keys, np.uint64)])), promise, last)


def lost(file: Path | str, promise: Promise, found: int) -> StoreError:
    """The error of a file that holds other questions than it promises."""
    what = f"{found} of {promise.entries} entries are found" if found != promise.entries else "a question id is damaged"
    return StoreError(f"{file}: damaged: {what}; {REMEDY}")


def all_rows(file: Path, db: sqlite3.Connection) -> Iterator[Row]:
    """Every row, in the order of writing, without keeping writers out. Raises StoreError at the end where some lack."""
    last, found, digest = 0, 0, 0
    while True:
        with named(file), _transaction(db, "DEFERRED"):
            query = "SELECT rowid, * FROM entries NOT INDEXED WHERE rowid > ? ORDER BY rowid LIMIT ?"
            page: Sequence[Any] = db.execute(query, (last, PAGE_ROWS)).fetchall()
            promise = read_promise(db)
        for number, *values in page:
            if number <= last:  # a page in the wrong place: its rows would come again and again
                raise StoreError(f"{file}: damaged: its rows are out of order; {REMEDY}")
            row, last = Row(*values), number
            found, digest = found + 1, (digest + key_of(str(row.expert_id))) % 2**64
            yield row
        if len(page) < PAGE_ROWS:
            break
    if Promise(found, digest) != promise:
        raise lost(file, promise, found)


@contextmanager
def _transaction(db: sqlite3.Connection, kind: str) -> Iterator[None]:
    db.execute(f"BEGIN {kind}")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def snapshot(db: sqlite3.Connection) -> Any:
    """A context in which all reads see one state of the file."""
    return _transaction(db, "DEFERRED")


def _packed(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    if len(text) > MAX_BYTES:
        raise ValueError(f"an entry of {len(text)} bytes is more than a store takes ({MAX_BYTES})")
    return zlib.compress(text, 1)


def _unpacked(packed: bytes) -> Any:
    stream = zlib.decompressobj()
    text = stream.decompress(packed, MAX_BYTES + 1)
    if len(text) > MAX_BYTES or not stream.eof:
        raise ValueError("its content is cut off or too long")
    return json.loads(text)


def _checksum(expert_id: str, trajectories: bytes, record: bytes) -> bytes:
    # lengths first: no byte can move from one part to the next
    return _digest(f"{len(trajectories)} {len(record)} {expert_id}".encode(), trajectories, record)


def _promise_row(promise: Promise) -> tuple[int, bytes, bytes]:
    digest = promise.digest.to_bytes(8, "little")
    return promise.entries, digest, _digest(f"{promise.entries}".encode(), digest)


def _digest(*parts: bytes) -> bytes:
    content = hashlib.blake2b(digest_size=8)
    for part in parts:
        content.update(part)
    return content.digest()


def _file_of(db: sqlite3.Connection) -> str:
    return os.fspath(db.execute("PRAGMA database_list").fetchone()[2])
