"""docs/method.md tells the truth: every function it names exists, and its worked numbers come out."""

import importlib
import re
from pathlib import Path

import pytest
import torch

from medeyes_verl.algorithm.advantage import dual_stream_advantage
from medeyes_verl.algorithm.policy_loss import dual_stream_terms
from medeyes_verl.algorithm.settings import DualStreamSettings

PAGE = (Path(__file__).parents[2] / "docs" / "method.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("reference", sorted(set(re.findall(r"`(medeyes_verl[\w.]*:\w+)`", PAGE))))
def test_named_function_exists(reference):
    module, name = reference.split(":")
    assert hasattr(importlib.import_module(module), name)


def test_worked_example_of_the_baselines():
    """Rollouts scoring 1, 0, 0, 0 and two experts scoring 1, under each baseline."""
    rewards_B = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    streams = [False] * 4 + [True] * 2
    rows = re.findall(r"^\| `(stream|on_policy|pooled|none)`.*? \| .*? \| (.*?) \| (.*?) \|$", PAGE, flags=re.MULTILINE)
    assert len(rows) == 4
    for baseline, rollouts, experts in rows:
        documented = [float(value.replace("−", "-")) for value in f"{rollouts}, {experts}".split(", ")]
        advantages_B = dual_stream_advantage(rewards_B, ["q"] * 6, streams, baseline=baseline)
        assert advantages_B.tolist() == pytest.approx(documented, abs=0.005)


def test_table_of_gradients():
    """Size of an expert token's gradient; columns: paper A > 0 and A < 0, no clip, shaped, shaped and clipped A < 0."""
    luffy = {"off_policy_shaping": "luffy"}
    columns = [
        ({}, 1),
        ({}, -1),
        ({"off_policy_clip": False}, -1),
        ({**luffy, "off_policy_clip": False}, -1),
        (luffy, -1),
    ]
    rows = re.findall(r"^\| (0\.\d+) \| (.*) \|$", PAGE, flags=re.MULTILINE)
    assert len(rows) == 4
    for probability, cells in rows:
        for documented, (settings, advantage) in zip(cells.split(" | "), columns, strict=True):
            one = torch.ones(1, 1)
            log_prob = torch.log(one * float(probability)).requires_grad_()
            terms = dual_stream_terms(
                log_prob, one, advantage * one, one, torch.ones(1), DualStreamSettings(**settings)
            )
            (gradient,) = torch.autograd.grad(terms.loss_BT.sum(), log_prob)
            assert abs(gradient.item()) == pytest.approx(float(documented), abs=0.0005)
