"""The short form of docs/results.md: experts, and the recommended rule, teach a policy a habit that it does not have.

A policy that looks once and gives up is trained for a few steps of stock main_ppo. It must look on: from one gaze a
trajectory, in which it hardly varies, to more than one and a half. And it must be right more often by more than two
standard errors, which alone chance does once in forty runs (seen, once: gazes 1.07 → 1.89, accuracy 0.367 → 0.621). Of
lesions found only a rise is asked: after so short a warm-up later gazes aim badly (0.324 → 0.441; over 20 steps 0.301 →
0.387, just two standard errors).
"""

import subprocess
from pathlib import Path

import pytest

from medeyes_verl.ablation.benchmark import BenchmarkSize, steps
from medeyes_verl.ablation.results import FOUND
from medeyes_verl.ablation.rows import RECOMMENDED, Row
from medeyes_verl.ablation.runner import Plan, run

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
QUESTIONS, STEPS = 256, 14
SIZE = BenchmarkSize(train=400, val=QUESTIONS, primer=400, whole=2400, going_on=0.02, warmup_steps=1500)


def test_experts_teach_a_weak_policy_to_look_on(tmp_path: Path) -> None:
    for step in steps(tmp_path / "data", ROOT, SIZE, {"grn_cvs"}):
        subprocess.run(step.command, check=True, timeout=1800, stdout=subprocess.DEVNULL)
    row = Row(name="short", says="", group="", overrides=(*RECOMMENDED, "trainer.val_before_train=true"))
    folders = {name: tmp_path / name for name in ("data", "output", "results")}
    result = run(Plan(**folders, steps=STEPS, validate_every=STEPS), row, seed=0)

    before, after = (result.validation["accuracy"][step] for step in (0, STEPS))
    error = ((before * (1 - before) + after * (1 - after)) / QUESTIONS) ** 0.5
    assert after - before > 2 * error, result.validation
    assert result.validation[FOUND][STEPS] > result.validation[FOUND][0], result.validation
    gazes = result.validation["gazes"]
    assert gazes[STEPS] > gazes[0] + 0.5, gazes
    assert max(result.training["engine difference"].values()) < 1e-4
