"""Read a store of Arrow files, as stores were before SQLite, so that `medeyes-verl experts merge` converts it.

Arrow ends the process on some damaged files, so no file is opened whose digest is not the one in the manifest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from medeyes_verl.expert.entry_file import Entry, StoreError
from medeyes_verl.expert.store import ARROW_MANIFEST
from medeyes_verl.expert.trajectory import Trajectory

SEGMENT_NAME = re.compile(r"segment-[0-9a-f]{16}\.arrow")
MAX_MANIFEST_BYTES = 16 << 20


class ArrowStore:
    """All entries of such a store; it is neither searched nor written any more."""

    def __init__(self, path: Path) -> None:
        """Raises StoreError where the manifest cannot be read."""
        self.path = path
        file = path / ARROW_MANIFEST
        try:
            with open(file, "rb") as stream:
                manifest = json.loads(stream.read(MAX_MANIFEST_BYTES + 1))
            if (manifest["format"], manifest["version"]) != ("medeyes-trajectories", 1):
                raise ValueError("another format or version")
            self._segments = [(str(each["file"]), int(each["entries"]), str(each["blake2b"]))
                              for each in manifest["segments"]]  # fmt: skip
            if not all(SEGMENT_NAME.fullmatch(name) for name, *_ in self._segments):
                raise ValueError("a file's name is not a segment's")
        except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
            raise StoreError(f"{file}: not the manifest of a trajectory store ({error!r})") from error

    def __len__(self) -> int:
        return sum(entries for _, entries, _ in self._segments)

    def entries(self) -> Iterator[Entry]:
        """Every entry. Raises StoreError at a file that is not what was written."""
        for name, _, digest in self._segments:
            file = self.path / name
            try:
                content = file.read_bytes()
                if hashlib.blake2b(content, digest_size=16).hexdigest() != digest:
                    raise ValueError("its content is not what was written")
                columns = ("expert_id", "trajectories", "record")
                for row in pa.ipc.open_file(content).read_all().select(columns).to_pylist():
                    yield _entry(row)
            except (ValueError, KeyError, TypeError, OSError, pa.ArrowException) as error:
                raise StoreError(f"{file}: the segment cannot be read ({error}); build its experts again") from error


def _entry(row: dict[str, Any]) -> Entry:
    expert_id = row["expert_id"]
    made = tuple(Trajectory.from_dict(expert_id, each) for each in json.loads(row["trajectories"]))
    return Entry(expert_id, made, json.loads(row["record"]))
