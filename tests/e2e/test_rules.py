"""A rule in stock main_ppo whose rows have tokens of both streams: the expert begins an episode, the policy ends it.

The other rules are composed and computed on a fixed batch in tests/plugin/test_rules.py.
"""

import math
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.test_main_ppo import LIMIT_SECONDS, ROOT, Run, main_ppo

pytestmark = pytest.mark.e2e

RULE = "prefix"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables, experts and a policy warmed up so briefly that it keeps the grammar now and then."""
    folder = tmp_path_factory.mktemp("rules")
    own = [sys.executable, "-m", "medeyes_verl.cli"]
    table, store = folder / "data" / "train.parquet", folder / "data" / "experts"
    for command in (
        [
            *(sys.executable, "data_preprocess/phantom.py", "--output", folder / "data"),
            *("--train", "16", "--val", "4", "--test", "0"),
        ],
        [*own, "experts", "script", "--data", table, "--store", store],
        [
            *(*own, "tiny-policy", "--data", table, "--experts", store, "--output", folder / "model"),
            *("--minutes", "5", "--steps", "60"),
        ],
    ):
        subprocess.run([str(word) for word in command], cwd=ROOT, check=True, timeout=LIMIT_SECONDS)
    return folder


@pytest.fixture(scope="module")
def run(inputs: Path) -> Run:
    few = (
        *("data.train_batch_size=4", "actor_rollout_ref.actor.ppo_mini_batch_size=4", "data.train_max_samples=8"),
        *("trainer.val_before_train=false", "trainer.test_freq=-1", "trainer.save_freq=-1"),
        *("trainer.total_training_steps=2", "trainer.resume_mode=disable"),
    )
    return main_ppo(inputs, inputs / "data", inputs / "model", RULE, *few, recipe=f"cpu_tiny,{RULE}")


def test_two_steps_are_finite_and_have_the_rules_own_metrics(run: Run) -> None:
    for step in (1, 2):
        metrics = run.steps[step]
        assert all(math.isfinite(value) for value in metrics.values() if isinstance(value, float)), step
        assert metrics["actor/grad_norm"] > 0
        assert (metrics["medeyes/expert/rows"], metrics["medeyes/on_policy/rows"]) == (4, 28)
        assert 0 < metrics["medeyes/expert/probability_before"] < 1
        # the expert's own trajectories score 1 throughout; the policy ends these, and seldom so
        assert metrics["medeyes/expert/mean_probability"] > 0
