"""The short form of docs/results.md: experts, and the recommended rule, teach a policy a habit that it does not have.

A policy that looks once and gives up is trained for a few steps of stock main_ppo. Its accuracy must rise by more than
three standard errors, which chance does once in seven hundred runs, and by looking more often, not otherwise.
"""

import subprocess
from pathlib import Path

import pytest

from medeyes_verl.ablation.benchmark import BenchmarkSize, steps
from medeyes_verl.ablation.rows import RECOMMENDED, Row
from medeyes_verl.ablation.runner import VALIDATED, Plan, run

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
SIZE = BenchmarkSize(train=600, val=VALIDATED, primer=500, hinted=400, warmup_steps=500)


def test_experts_teach_a_weak_policy_to_look_on(tmp_path: Path) -> None:
    for step in steps(tmp_path / "data", ROOT, SIZE, {"grn_cvs"}):
        subprocess.run(step.command, check=True, timeout=1800, stdout=subprocess.DEVNULL)
    row = Row(
        name="short", says="", group="", experts="grn_cvs", overrides=(*RECOMMENDED, "trainer.val_before_train=true")
    )
    plan = Plan(
        data=tmp_path / "data", output=tmp_path / "runs", results=tmp_path / "results", steps=8, validate_every=8
    )
    result = run(plan, row, seed=0)

    before, after = result.validation["accuracy"][0], result.validation["accuracy"][8]
    error = ((before * (1 - before) + after * (1 - after)) / VALIDATED) ** 0.5
    assert after - before > 3 * error, result.validation
    assert result.validation["gazes"][8] > result.validation["gazes"][0] + 0.5, result.validation
    assert max(result.training["engine difference"].values()) < 1e-4
