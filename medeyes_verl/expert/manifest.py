"""The manifest of a trajectory store, and the moves on its files: lock, list, open, add, clean.

Replacing the manifest is the one moment at which anything becomes true. Everything before it can be
lost without harm, everything after it is on disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medeyes_verl.expert.segment import Row, Segment, StoreError, write_segment

FORMAT = "medeyes-trajectories"
SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 16 << 20
TEMPORARY_MANIFEST = re.compile(r"\.manifest\.json\.[0-9a-f]{8}")
SEGMENT_NAME = re.compile(r"segment-[0-9a-f]{16}\.arrow")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the store's writer lock; it is released also when the process dies."""
    with open(path / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def manifest_stamp(path: Path) -> tuple[int, int]:
    """Changes whenever the manifest is replaced. Raises StoreError where there is none."""
    try:
        stat = (path / MANIFEST).stat()
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(
            f"{path}: no trajectory store here (no {MANIFEST}); make one with `medeyes-verl experts`"
        ) from None
    return stat.st_ino, stat.st_mtime_ns


def read_manifest(path: Path) -> list[dict[str, Any]]:
    """The segments that count: [{"file", "entries", "bytes", "blake2b"}]."""
    file = path / MANIFEST
    manifest_stamp(path)  # a clear error where there is none
    with open(file, "rb") as stream:
        text = stream.read(MAX_MANIFEST_BYTES + 1)
    try:
        manifest = json.loads(text)
        if manifest["format"] != FORMAT:
            raise ValueError(f"format is {manifest['format']!r}, not {FORMAT!r}")
        version = manifest["version"]
        segments = list(manifest["segments"])
        for listed in segments:
            if not SEGMENT_NAME.fullmatch(listed["file"]):
                raise ValueError(f"{listed['file']!r} is no segment's name")
            _ = int(listed["entries"]), int(listed["bytes"]), str(listed["blake2b"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{file}: not the manifest of a trajectory store ({error!r})") from error
    if version != SCHEMA_VERSION:
        raise StoreError(f"{file}: schema version {version}; this medeyes-verl reads version {SCHEMA_VERSION}")
    return segments


def write_manifest(path: Path, segments: Sequence[Mapping[str, Any]]) -> None:
    """Replace the manifest: the moment at which a commit happens."""
    temporary = path / f".{MANIFEST}.{secrets.token_hex(4)}"
    content = {"format": FORMAT, "version": SCHEMA_VERSION, "segments": list(segments)}
    with open(temporary, "w") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path / MANIFEST)
    _sync_folder(path)


def open_segment(path: Path, listed: Mapping[str, Any]) -> Segment:
    """Open a segment the manifest lists. Raises StoreError where it is gone, cut off, or not the listed one."""
    file = path / str(listed["file"])
    repair = "run `medeyes-verl experts validate --repair` on the store, then build again"
    if not file.exists():
        raise StoreError(f"{file}: the manifest lists this segment, but it is gone; {repair}")
    size = file.stat().st_size
    if size != listed["bytes"]:
        raise StoreError(
            f"{file}: {size} bytes where the manifest says {listed['bytes']}: cut off or changed; {repair}"
        )
    segment = Segment(file)
    if len(segment) != listed["entries"]:
        raise StoreError(f"{file}: {len(segment)} entries where the manifest says {listed['entries']}; {repair}")
    return segment


def new_segment(path: Path, rows: Sequence[Row]) -> dict[str, Any]:
    """Write encoded entries as one more segment file, and return what the manifest is to say of it."""
    name = f"segment-{secrets.token_hex(8)}.arrow"
    temporary = path / f".{name}"
    write_segment(temporary, rows)
    digest = digest_of(temporary)
    os.replace(temporary, path / name)
    return {
        "file": name,
        "entries": len(rows),
        "bytes": (path / name).stat().st_size,
        "blake2b": digest,
    }


def digest_of(file: Path) -> str:
    """blake2b of a file's content, 128 bits."""
    content = hashlib.blake2b(digest_size=16)
    with open(file, "rb") as stream:
        while block := stream.read(1 << 20):
            content.update(block)
    return content.hexdigest()


def remove_orphans(path: Path) -> None:
    """Delete what a killed writer left. Only under the lock: there, every unlisted segment is an orphan."""
    listed = {each["file"] for each in read_manifest(path)}
    for file in path.iterdir():
        bare = file.name.removeprefix(".")
        ours = SEGMENT_NAME.fullmatch(bare) or TEMPORARY_MANIFEST.fullmatch(file.name)
        if ours and file.name not in listed:
            file.unlink()


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
