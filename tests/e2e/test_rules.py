"""Two rules in stock main_ppo: one that needs the step and another's loss, one whose rows have tokens of both streams.

The other rules are composed and computed on a fixed batch in tests/plugin/test_rules.py.
"""

import math
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.test_main_ppo import LIMIT_SECONDS, ROOT, Run, main_ppo

pytestmark = pytest.mark.e2e

RUNS = {
    "chord_mu": (
        *("algorithm.medeyes.off_policy_decay_steps=2", "algorithm.medeyes.on_policy_loss=gspo"),
        *("actor_rollout_ref.rollout.n=8", "actor_rollout_ref.rollout.custom.medeyes.n_expert=2"),
    ),
    "prefix": (),
}


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


@pytest.fixture(scope="module", params=list(RUNS))
def run(request: pytest.FixtureRequest, inputs: Path) -> tuple[str, Run]:
    rule = request.param
    few = (
        *("data.train_batch_size=4", "actor_rollout_ref.actor.ppo_mini_batch_size=4", "data.train_max_samples=8"),
        *("trainer.val_before_train=false", "trainer.test_freq=-1", "trainer.save_freq=-1"),
        *("trainer.total_training_steps=2", "trainer.resume_mode=disable"),
    )
    ran = main_ppo(inputs, inputs / "data", inputs / "model", rule, *few, *RUNS[rule], recipe=f"cpu_tiny,{rule}")
    return rule, ran


def test_two_steps_are_finite_and_have_the_rules_own_metrics(run: tuple[str, Run]) -> None:
    rule, ran = run
    for step in (1, 2):
        metrics = ran.steps[step]
        assert all(math.isfinite(value) for value in metrics.values() if isinstance(value, float)), (rule, step)
        assert metrics["actor/grad_norm"] > 0
        if rule == "chord_mu":
            mu = 0.05 + 0.85 * (1 + math.cos(math.pi * step / 2)) / 2 if step < 2 else 0.05
            assert metrics["medeyes/expert/weight"] == pytest.approx(mu / 0.25)
            assert metrics["medeyes/on_policy/weight"] == pytest.approx((1 - mu) / 0.75)
            assert "medeyes/on_policy/pg_clipfrac" in metrics, "what gspo logs of the policy's rows"
        else:
            assert (metrics["medeyes/expert/rows"], metrics["medeyes/on_policy/rows"]) == (4, 28)
            assert 0 < metrics["medeyes/expert/probability_before"] < 1
            # the expert's own trajectories score 1 throughout; the policy ends these, and seldom so
            assert metrics["medeyes/expert/mean_probability"] > 0
