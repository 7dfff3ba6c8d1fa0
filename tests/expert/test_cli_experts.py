"""The `experts` command line, as a user meets it."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from typer.testing import CliRunner

from medeyes_verl.cli_experts import experts
from medeyes_verl.data.image_store import StoredPicture
from medeyes_verl.data.row import Region, Row, write_rows
from medeyes_verl.expert.store import TrajectoryStore
from medeyes_verl.gaze.geometry import Box, Size

RUN = CliRunner()


def training_file(folder: Path, count: int = 3) -> Path:
    rows = (
        Row(
            data_source="phantom",
            split="train",
            id=f"q{number}",
            question="What is the lesion?",
            answer="ring",
            question_type="open",
            pictures=(StoredPicture(path="/p.png", size=Size(448, 448)),),
            expert_id=f"phantom/q{number}",
            regions=(Region(Box(200, 100, 264, 164), "ring", target=True), Region(Box(20, 20, 80, 80), "decoy")),
        )
        for number in range(count)
    )
    write_rows(folder / "train.parquet", rows)
    return folder / "train.parquet"


def test_script_writes_and_resumes(tmp_path: Path) -> None:
    data, store = training_file(tmp_path), tmp_path / "store"
    first = RUN.invoke(experts, ["script", "--data", str(data), "--store", str(store), "--n", "2"])
    assert first.exit_code == 0, first.output
    assert len(TrajectoryStore(store).get("phantom/q1")) == 2
    second = RUN.invoke(experts, ["script", "--data", str(data), "--store", str(store), "--n", "2"])
    assert second.exit_code == 0
    assert "3 questions were there already" in " ".join(second.output.split())


def test_script_says_what_is_wrong(tmp_path: Path) -> None:
    pq.write_table(pq.read_table(training_file(tmp_path)).select(["prompt"]), tmp_path / "other.parquet")
    result = RUN.invoke(experts, ["script", "--data", str(tmp_path / "other.parquet"), "--store", str(tmp_path / "s")])
    assert result.exit_code == 1
    assert "error:" in result.output
    assert "lacks the columns" in " ".join(result.output.split())


def test_validate_counts_and_fails_on_damage(tmp_path: Path) -> None:
    store = tmp_path / "store"
    RUN.invoke(experts, ["script", "--data", str(training_file(tmp_path)), "--store", str(store), "--n", "2"])
    sound = RUN.invoke(experts, ["validate", str(store)])
    assert sound.exit_code == 0, sound.output
    assert "6 trajectories for 3 questions" in " ".join(sound.output.split())
    segment = next(store.glob("segment-*"))
    segment.write_bytes(segment.read_bytes()[:-9])
    damaged = RUN.invoke(experts, ["validate", str(store)])
    assert damaged.exit_code == 1
    assert "damaged:" in damaged.output
    assert RUN.invoke(experts, ["validate", str(store), "--repair"]).exit_code == 0
    assert RUN.invoke(experts, ["validate", str(store)]).exit_code == 0
    assert RUN.invoke(experts, ["validate", str(tmp_path / "absent")]).exit_code == 1


def test_merge_joins(tmp_path: Path) -> None:
    store = tmp_path / "store"
    RUN.invoke(experts, ["script", "--data", str(training_file(tmp_path)), "--store", str(store), "--n", "2"])
    result = RUN.invoke(experts, ["merge", str(tmp_path / "all"), str(store), str(store)])
    assert result.exit_code == 0, result.output
    assert "3 questions added, 3 were there already" in " ".join(result.output.split())
