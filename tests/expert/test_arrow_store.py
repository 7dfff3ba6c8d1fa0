"""A store as it was before SQLite is refused by name, and `merge` converts it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from medeyes_verl.expert.store import Entry, StoreError, StoreWriter, TrajectoryStore
from medeyes_verl.expert.trajectory import ExpertStep, Trajectory
from medeyes_verl.expert.upkeep import merge_stores
from medeyes_verl.gaze.geometry import Box


def entry(number: int) -> Entry:
    steps = (ExpertStep("näher", Box(0, 0, 9, 9), confidence=0.5),)
    return Entry(f"q{number}", (Trajectory(f"q{number}", steps, "seen", "ring", True, "scripted"),), {"seed": number})


def arrow_store(path: Path, numbers: list[list[int]]) -> Path:
    """The bytes that version 1 wrote."""
    path.mkdir()
    listed: list[dict[str, Any]] = []
    for place, segment in enumerate(numbers):
        entries = [entry(number) for number in segment]
        columns = {
            "key": pa.array(segment, pa.uint64()),
            "expert_id": pa.array([each.expert_id for each in entries], pa.large_string()),
            "trajectories": pa.array(
                [json.dumps([one.as_dict() for one in each.trajectories]).encode() for each in entries],
                pa.large_binary(),
            ),
            "record": pa.array([json.dumps(each.record).encode() for each in entries], pa.large_binary()),
            "checksum": pa.array([0] * len(entries), pa.uint32()),
        }
        file = path / f"segment-{place:016x}.arrow"
        table = pa.table(columns)
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        digest = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
        listed.append({"file": file.name, "entries": len(entries), "bytes": file.stat().st_size, "blake2b": digest})
    manifest = {"format": "medeyes-trajectories", "version": 1, "segments": listed}
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def test_it_is_refused_with_the_command_that_converts_it(tmp_path: Path) -> None:
    path = arrow_store(tmp_path / "old", [[1]])
    for open_it in (TrajectoryStore, StoreWriter):
        with pytest.raises(StoreError, match=f"experts merge NEW_FOLDER {path}"):
            open_it(path)


def test_merge_converts_it(tmp_path: Path) -> None:
    path = arrow_store(tmp_path / "old", [[1, 2], [3]])
    assert merge_stores(tmp_path / "new", [path]) == (3, 0)
    assert list(TrajectoryStore(tmp_path / "new").entries()) == [entry(1), entry(2), entry(3)]


def test_a_damaged_file_is_named_before_arrow_reads_it(tmp_path: Path) -> None:
    path = arrow_store(tmp_path / "old", [[1, 2]])
    file = next(path.glob("*.arrow"))
    file.write_bytes(file.read_bytes()[:-20] + b"\xff" * 20)
    with pytest.raises(StoreError, match=f"{file.name}.*not what was written"):
        merge_stores(tmp_path / "new", [path])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "medeyes-trajectories", "version": 9, "segments": []}',
                                  '{"format": "medeyes-trajectories", "version": 1, "segments": [{"file": "../x", '
                                  '"entries": 1, "blake2b": ""}]}'])  # fmt: skip
def test_a_foreign_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match=r"manifest\.json"):
        merge_stores(tmp_path / "new", [tmp_path / "old"])
