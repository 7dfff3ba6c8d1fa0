"""Estimator and loss refuse to guess streams, and with one stream are veRL's GRPO within float rounding."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage

from medeyes_verl.plugin.objective import dual_stream_estimator, dual_stream_policy_loss
from medeyes_verl.plugin.streams import EXPERT, ON_POLICY, StreamsUnknownError, labelled, stream_of

TOLERANCE = 2e-6
"""Largest difference between our advantages and GRPO's in units of the larger of 1 and the advantage: float32 rounds
GRPO's mean and deviation. Without groups of (almost) equal rewards, in which GRPO's own rounding is divided by 1e-6."""


def rewards(generator: torch.Generator, prompts: int, n: int) -> torch.Tensor:
    return torch.rand(prompts * n, 1, generator=generator)


def test_one_stream_is_grpo_within_rounding() -> None:
    generator = torch.Generator().manual_seed(0)
    largest = 0.0
    for _ in range(200):
        rewards_B1 = rewards(generator, prompts=4, n=8)
        ids = np.array([f"q{i // 8}" for i in range(32)], dtype=object)
        ours, _ = dual_stream_estimator(
            rewards_B1, torch.ones(32, 1), np.array([labelled(each, ON_POLICY) for each in ids], dtype=object), {}
        )
        theirs, _ = compute_grpo_outcome_advantage(rewards_B1.clone(), torch.ones(32, 1), ids)
        largest = max(largest, ((ours - theirs).abs() / theirs.abs().clamp(min=1)).max().item())
    assert 0 < largest < TOLERANCE


def test_equal_rewards_are_exactly_zero_here_and_not_in_grpo() -> None:
    rewards_B1 = torch.full((6, 1), 0.983)
    ids = np.array(["q"] * 6, dtype=object)
    ours, _ = dual_stream_estimator(rewards_B1, torch.ones(6, 1), np.array([labelled("q", ON_POLICY)] * 6), {})
    assert ours.eq(0).all()
    theirs, _ = compute_grpo_outcome_advantage(rewards_B1.clone(), torch.ones(6, 1), ids)
    assert (ours - theirs).abs().max() < 0.1


@pytest.mark.parametrize("ids", [["q1", "q2"], ["q1#on_policy", "q2"], ["q1#experts", "q2#experts"]])
def test_an_id_without_a_stream_is_refused_with_the_key(ids: list[str]) -> None:
    with pytest.raises(StreamsUnknownError, match=r"trainer\.v1\.trainer_mode to medeyes_sync .*adv_estimator=grpo"):
        dual_stream_estimator(torch.ones(2, 1), torch.ones(2, 1), np.array(ids, dtype=object), {})


def test_a_loss_without_streams_is_refused_with_the_key() -> None:
    zeros = torch.zeros(2, 3)
    with pytest.raises(StreamsUnknownError, match=r"trainer\.v1\.trainer_mode to medeyes_sync .*loss_mode=vanilla"):
        dual_stream_policy_loss(zeros, zeros, zeros, zeros.bool(), config=SimpleNamespace(clip_ratio=0.2))


def test_a_loop_names_its_stream_or_none() -> None:
    assert stream_of({}) == ON_POLICY
    assert stream_of({"stream": None}) == ON_POLICY
    assert stream_of({"stream": EXPERT}) == EXPERT
    with pytest.raises(ValueError, match="'experts'; use 'on_policy', 'expert'"):
        stream_of({"stream": "experts"})
