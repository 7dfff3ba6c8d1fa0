"""Where an off-policy session's trajectory comes from, with a real store and real experts made live."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from medeyes_verl.config.settings import LiveSettings, RolloutSettings
from medeyes_verl.data.row import read_rows
from medeyes_verl.expert.store import TrajectoryStore
from medeyes_verl.plugin.off_policy import OffPolicySource
from medeyes_verl.tiny.model import TINY_EPISODE


@pytest.fixture
def row(prepared: Any) -> dict[str, Any]:
    """A training row as veRL hands it to an agent loop: without its pictures, which are in the prompt."""
    row = next(iter(read_rows(prepared.data / "train.parquet")))
    parts = [{"type": "image", "image": path} for path in row.pop("images")]
    return {**row, "raw_prompt": [{"role": "user", "content": [*parts, {"type": "text", "text": "what?"}]}]}


def trajectories(source: OffPolicySource, row: dict[str, Any], step: int = 0) -> Any:
    return asyncio.run(source.trajectories(row, step))


def test_later_steps_go_on_where_earlier_ones_stopped(prepared: Any, row: dict[str, Any]) -> None:
    stored = TrajectoryStore(prepared.data / "experts").get(row["extra_info"]["expert_id"])
    assert len(stored) == 4
    source = OffPolicySource(RolloutSettings(experts=str(prepared.data / "experts"), n_expert=2), TINY_EPISODE)
    assert trajectories(source, row, step=0) == stored[:2]
    assert trajectories(source, row, step=1) == stored[2:]
    assert trajectories(source, row, step=2) == stored[:2]


def test_a_question_nobody_knows_has_none(prepared: Any, row: dict[str, Any]) -> None:
    source = OffPolicySource(RolloutSettings(experts=str(prepared.data / "experts"), n_expert=2), TINY_EPISODE)
    row["extra_info"]["expert_id"] = "nobody's"
    assert trajectories(source, row) == []


def live(store: Path, **settings: Any) -> OffPolicySource:
    given = LiveSettings(oracle="annotations", preset="tiny", **settings)
    return OffPolicySource(RolloutSettings(experts=str(store), n_expert=2, live=given), TINY_EPISODE)


def test_where_the_store_has_nothing_an_expert_is_made_and_kept(tmp_path: Path, row: dict[str, Any]) -> None:
    made = trajectories(live(tmp_path / "experts"), row)
    assert len(made) == 2
    assert all(trajectory.correct and trajectory.answer == row["reward_model"]["ground_truth"] for trajectory in made)
    assert TrajectoryStore(tmp_path / "experts").get(row["extra_info"]["expert_id"]) == made
    assert trajectories(live(tmp_path / "experts"), row) == made, "found, not made again"


def test_an_expert_that_takes_too_long_leaves_the_session_to_the_policy(tmp_path: Path, row: dict[str, Any]) -> None:
    assert trajectories(live(tmp_path / "experts", time_limit=0.0), row) == []
