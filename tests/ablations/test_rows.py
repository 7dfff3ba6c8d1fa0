"""The table of runs: every row is a recipe that veRL accepts, and names a store that is built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ablations.benchmark import BenchmarkSize, policy, policy_mark, questions, steps
from ablations.page import CURVES
from ablations.results import Result, write_result
from ablations.rows import ALL_SEEDS, MICRO_BATCHES, N_ON_POLICY, RECOMMENDED, ROWS, STORES, Row, named
from ablations.runner import Plan, command, run_all

from medeyes_verl.expert.store import FILE

ROOT = Path(__file__).parents[2]


def test_names_are_unique_and_stores_are_known() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert {row.experts for row in ROWS} <= set(STORES)
    assert all(row.seeds == ALL_SEEDS for row in ROWS if row.name in CURVES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_is_a_valid_run(row: Row, tmp_path: Path) -> None:
    """main_ppo's own configuration takes every override, and our settings accept what comes of it."""
    hydra = pytest.importorskip("hydra")
    from omegaconf import OmegaConf

    from medeyes_verl.config.settings import rollout_settings
    from medeyes_verl.plugin.objective import dual_stream_settings
    from medeyes_verl.plugin.reward_manager import reward_settings

    plan = Plan(data=tmp_path, output=tmp_path, results=tmp_path, steps=30)
    for last_step, overrides in row.phases(plan.steps):
        words = command(plan, row, 1, tmp_path / "run", last_step, overrides)
        given = words[words.index("+medeyes=cpu_tiny") :]
        with hydra.initialize_config_module(config_module="verl.trainer.config", version_base=None):
            config = hydra.compose("ppo_trainer", overrides=given)
        settings = rollout_settings(config)
        trajectories = config.data.train_batch_size * config.actor_rollout_ref.rollout.n
        assert [trajectories % OmegaConf.select(config, key) for key in MICRO_BATCHES] == [0, 0]
        assert config.actor_rollout_ref.rollout.n - settings.n_expert == N_ON_POLICY
        assert dual_stream_settings(config.algorithm)
        assert reward_settings(config)
        assert config.trainer.total_training_steps == last_step
    assert last_step == plan.steps


def test_fine_tuning_first_leaves_a_checkpoint_for_what_comes_after(tmp_path: Path) -> None:
    (row,) = named(["sft_then_grpo"])
    plan = Plan(data=tmp_path, output=tmp_path, results=tmp_path, steps=30)
    first, second = (command(plan, row, 0, tmp_path, last, overrides) for last, overrides in row.phases(30))
    assert "trainer.save_freq=15" in first
    assert "trainer.save_freq=-1" in second
    assert "algorithm.medeyes.on_policy_weight=0" in first
    assert "algorithm.medeyes.on_policy_weight=0" not in second


def test_unknown_rows_are_named() -> None:
    with pytest.raises(ValueError, match="unknown rows best: known are start, paper, grpo"):
        named(["best", "paper"])


def test_results_of_another_policy_are_not_mixed_in(tmp_path: Path) -> None:
    """Nothing is run: the only row asked for is kept."""
    plan = Plan(data=tmp_path, output=tmp_path, results=tmp_path / "results")
    weights = policy(tmp_path) / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"one")
    mark = policy_mark(tmp_path)
    (row,) = named(["grpo"])
    write_result(plan.results, Result("grpo", 0, mark, 1.0, 1, {"accuracy": {1: 0.5}}, {}))
    assert run_all(plan, [(row, 0)], lambda _: None) == []
    weights.write_bytes(b"another")
    with pytest.raises(ValueError, match=f"grpo, seed 0, comes from policy {mark}, .* choose another folder"):
        run_all(plan, [(row, 0)], lambda _: None)


def test_results_of_another_length_are_not_mixed_in(tmp_path: Path) -> None:
    """Nothing is run: the rows asked for are kept. What was not trained has no length."""
    plan = Plan(data=tmp_path, output=tmp_path, results=tmp_path / "results", steps=20)
    weights = policy(tmp_path) / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"one")
    rows = named(["start", "grpo"])
    for name, training in (("start", {}), ("grpo", {"accuracy": {1: 0.1, 20: 0.3}})):
        write_result(plan.results, Result(name, 0, policy_mark(tmp_path), 1.0, 1, {"accuracy": {0: 0.5}}, training))
    assert run_all(plan, [(row, 0) for row in rows], lambda _: None) == []
    with pytest.raises(ValueError, match=r"grpo, seed 0, ran for 20 steps, not 40: .* or --steps 20"):
        run_all(replace(plan, steps=40), [(row, 0) for row in rows], lambda _: None)


def test_what_the_benchmark_needs_is_what_the_runs_use(tmp_path: Path) -> None:
    made = steps(tmp_path, ROOT, BenchmarkSize(), {"grn_cvs", "random"})
    left = {step.leaves for step in made}
    assert questions(tmp_path) / "grn_cvs" / FILE in left
    assert questions(tmp_path) / "random" / FILE in left
    assert questions(tmp_path) / "greedy" / FILE not in left
    assert policy(tmp_path) / "config.json" in left
    assert all(Path(word).exists() for step in made for word in step.command if word.endswith(".py"))


def test_the_recommended_row_is_the_recommended_recipe() -> None:
    hydra = pytest.importorskip("hydra")
    words = (["+medeyes=[cpu_tiny,recommended]"], ["+medeyes=cpu_tiny", *RECOMMENDED], ["+medeyes=cpu_tiny"])
    with hydra.initialize_config_module(config_module="verl.trainer.config", version_base=None):
        recipe, row, plain = (hydra.compose("ppo_trainer", overrides=given) for given in words)
    for config in (recipe, row, plain):
        config.medeyes.rules = {}  # the recipe leaves its name there, so that two rules at once are refused
    assert recipe == row != plain
