"""Advantages: hand-worked numbers, equality with veRL's GRPO, and what must not change when experts join."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage

from medeyes_verl.algorithm.advantage import dual_stream_advantage, silent_group_share

BASELINES = ["stream", "on_policy", "pooled", "none"]
CLOSE = {"rtol": 1e-7, "atol": 1e-7}  # stock works out groups of one in float32
REWARD = st.sampled_from([i / 20 for i in range(21)])
ROWS = st.lists(st.tuples(REWARD, st.sampled_from("abcd"), st.booleans()), min_size=1, max_size=40)


def columns(rows):
    rewards, groups, streams = zip(*rows, strict=True)
    return torch.tensor(rewards, dtype=torch.float64), list(groups), list(streams)


def stock_grpo(rewards_B, groups, normalise_by_std=True):
    return compute_grpo_outcome_advantage(
        token_level_rewards=rewards_B.clone().unsqueeze(-1),
        response_mask=torch.ones(len(rewards_B), 1, dtype=rewards_B.dtype),
        index=np.array(groups, dtype=object),
        norm_adv_by_std_in_grpo=normalise_by_std,
    )[0].squeeze(-1)


# One prompt: four rollouts, mean 0.25 and deviation 0.5; two experts, mean 0.8 and deviation √0.08.
REWARDS = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.6], dtype=torch.float64)
GROUPS = ["q"] * 6
STREAMS = [False, False, False, False, True, True]
POOLED_MEAN = 2.6 / 6
POOLED_DEVIATION = math.sqrt((2.36 - 2.6**2 / 6) / 5)


@pytest.mark.parametrize(
    ("baseline", "rollouts", "experts"),
    [
        ("stream", [1.5, -0.5, -0.5, -0.5], [0.2 / math.sqrt(0.08), -0.2 / math.sqrt(0.08)]),
        ("on_policy", [1.5, -0.5, -0.5, -0.5], [0.75 / 0.5, 0.35 / 0.5]),
        ("none", [1.5, -0.5, -0.5, -0.5], [1.0, 0.6]),
        (
            "pooled",
            [(1 - POOLED_MEAN) / POOLED_DEVIATION] + [-POOLED_MEAN / POOLED_DEVIATION] * 3,
            [(1 - POOLED_MEAN) / POOLED_DEVIATION, (0.6 - POOLED_MEAN) / POOLED_DEVIATION],
        ),
    ],
)
def test_hand_worked_example(baseline, rollouts, experts):
    advantages_B = dual_stream_advantage(REWARDS, GROUPS, STREAMS, baseline=baseline)
    assert advantages_B.tolist() == pytest.approx(rollouts + experts, rel=1e-5)


@pytest.mark.parametrize(
    ("baseline", "experts"),
    [
        ("stream", [0.2, -0.2]),
        ("on_policy", [0.75, 0.35]),
        ("pooled", [1 - 2.6 / 6, 0.6 - 2.6 / 6]),
        ("none", [1.0, 0.6]),
    ],
)
def test_without_division_by_the_deviation(baseline, experts):
    advantages_B = dual_stream_advantage(REWARDS, GROUPS, STREAMS, baseline=baseline, normalise_by_std=False)
    assert advantages_B[4:].tolist() == pytest.approx(experts)


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("normalise_by_std", [True, False])
@given(rows=ROWS)
@settings(max_examples=60, deadline=None)
def test_one_stream_equals_stock_grpo(baseline, normalise_by_std, rows):
    rewards_B, groups, _ = columns(rows)
    ours_B = dual_stream_advantage(rewards_B, groups, baseline=baseline, normalise_by_std=normalise_by_std)
    torch.testing.assert_close(ours_B, stock_grpo(rewards_B, groups, normalise_by_std), **CLOSE)


def test_group_of_one_is_scored_as_stock_does():
    rewards_B = torch.tensor([0.3, 1.0, 0.0])
    ours_B = dual_stream_advantage(rewards_B, ["alone", "pair", "pair"])
    assert torch.equal(ours_B, stock_grpo(rewards_B, ["alone", "pair", "pair"]))
    assert ours_B[0] == pytest.approx(0.3, rel=1e-5)


@given(rows=ROWS)
@settings(max_examples=60, deadline=None)
def test_stream_baseline_equals_stock_grpo_on_prompt_and_stream(rows):
    rewards_B, groups, streams = columns(rows)
    both = [f"{group}#{stream}" for group, stream in zip(groups, streams, strict=True)]
    ours_B = dual_stream_advantage(rewards_B, groups, streams)
    torch.testing.assert_close(ours_B, stock_grpo(rewards_B, both), **CLOSE)


@pytest.mark.parametrize("baseline", ["stream", "on_policy", "none"])
@given(rows=ROWS, experts=ROWS)
@settings(max_examples=60, deadline=None)
def test_experts_leave_rollouts_unchanged(baseline, rows, experts):
    rewards_B, groups, _ = columns(rows)
    expert_rewards_B, expert_groups, _ = columns(experts)
    alone_B = dual_stream_advantage(rewards_B, groups, baseline=baseline)
    streams = [False] * len(groups) + [True] * len(expert_groups)
    joint_B = dual_stream_advantage(
        torch.cat([rewards_B, expert_rewards_B]), groups + expert_groups, streams, baseline=baseline
    )
    assert torch.equal(joint_B[: len(groups)], alone_B)


def test_pooled_baseline_does_change_rollouts():
    alone_B = dual_stream_advantage(REWARDS[:4], GROUPS[:4], baseline="pooled")
    joint_B = dual_stream_advantage(REWARDS, GROUPS, STREAMS, baseline="pooled")
    assert not torch.allclose(joint_B[:4], alone_B)


@pytest.mark.parametrize("baseline", BASELINES)
@given(data=st.data(), rows=ROWS)
@settings(max_examples=60, deadline=None)
def test_row_order_does_not_matter(baseline, data, rows):
    rewards_B, groups, streams = columns(rows)
    order = data.draw(st.permutations(range(len(rows))))
    straight_B = dual_stream_advantage(rewards_B, groups, streams, baseline=baseline)
    shuffled_B = dual_stream_advantage(
        rewards_B[list(order)], [groups[i] for i in order], [streams[i] for i in order], baseline=baseline
    )
    torch.testing.assert_close(shuffled_B, straight_B[list(order)], **CLOSE)


@pytest.mark.parametrize("baseline", ["stream", "on_policy", "pooled"])
@given(reward=st.floats(-1, 1, width=32), size=st.integers(2, 16), experts=st.integers(2, 16))
@settings(max_examples=60, deadline=None)
def test_equal_rewards_give_exactly_zero(baseline, reward, size, experts):
    rewards_B = torch.full((size + experts,), reward)
    streams = [False] * size + [True] * experts
    advantages_B = dual_stream_advantage(rewards_B, ["q"] * len(streams), streams, baseline=baseline)
    assert not advantages_B.any()


def test_on_policy_baseline_is_bounded_where_all_rollouts_agree():
    rewards_B = torch.tensor([0.2] * 8 + [0.9, 0.2, 0.1])
    streams = [False] * 8 + [True] * 3
    advantages_B = dual_stream_advantage(rewards_B, ["q"] * 11, streams, baseline="on_policy")
    assert not advantages_B[:8].any()
    assert advantages_B[8:].tolist() == pytest.approx([8 / 3, 0.0, 0.0])


@pytest.mark.parametrize("normalise_by_std", [True, False])
@given(
    rollouts=st.lists(REWARD, min_size=2, max_size=8),
    experts=st.lists(REWARD, min_size=1, max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_on_policy_experts_teach_exactly_while_they_are_better(normalise_by_std, rollouts, experts):
    rewards_B = torch.tensor(rollouts + experts)
    streams = [False] * len(rollouts) + [True] * len(experts)
    advantages_B = dual_stream_advantage(
        rewards_B, ["q"] * len(streams), streams, baseline="on_policy", normalise_by_std=normalise_by_std
    )
    better = (rewards_B.double() - rewards_B[: len(rollouts)].double().mean())[len(rollouts) :]
    clear = better.abs() > 1e-6
    assert ((advantages_B[len(rollouts) :] > 0) == (better > 0))[clear].all()
    assert (advantages_B[len(rollouts) :] >= 0).all()


def test_bound_is_the_advantage_of_a_lone_outlier_that_joins_the_rollouts():
    outlier_B = dual_stream_advantage(torch.tensor([0.2] * 8 + [0.9]), ["q"] * 9)
    assert outlier_B[-1] == pytest.approx(8 / 3, rel=1e-5)


@pytest.mark.parametrize("normalise_by_std", [True, False])
def test_on_policy_baseline_without_any_rollout_is_zero(normalise_by_std):
    advantages_B = dual_stream_advantage(
        torch.tensor([0.9, 0.1, 1.0, 0.0]),
        ["lost", "lost", "q", "q"],
        [True, True, False, False],
        baseline="on_policy",
        normalise_by_std=normalise_by_std,
    )
    assert advantages_B[:2].tolist() == [0.0, 0.0]
    assert advantages_B[2] > 0


def test_silent_share_counts_prompt_and_stream_groups():
    rewards_B = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.7, 0.7, 0.9, 0.7])
    groups = ["p", "p", "p", "p", "q", "q", "q", "q"]
    streams = [False, False, True, True, False, False, True, True]
    advantages_B = dual_stream_advantage(rewards_B, groups, streams)
    assert silent_group_share(advantages_B, groups, streams) == {"on_policy": 0.5, "expert": 0.5}
    assert silent_group_share(advantages_B[:2], groups[:2]) == {"on_policy": 0.0}
    against_rollouts_B = dual_stream_advantage(rewards_B, groups, streams, baseline="on_policy")
    assert silent_group_share(against_rollouts_B, groups, streams)["expert"] == 0.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_rewards_that_are_not_finite_are_named(bad):
    rewards_B = torch.tensor([0.5, bad, 0.1])
    with pytest.raises(ValueError, match=r"1 of 3 rewards are not finite \(row 1 \(group b\): -?(nan|inf)"):
        dual_stream_advantage(rewards_B, ["a", "b", "a"])


def test_lengths_that_differ_and_unknown_baselines_are_refused():
    with pytest.raises(ValueError, match=r"\(2,\), \(3,\) and \(3,\)"):
        dual_stream_advantage(torch.zeros(2), ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"\(2,\), \(2,\) and \(1,\)"):
        dual_stream_advantage(torch.zeros(2), ["a", "b"], [True])
    with pytest.raises(ValueError, match="baseline is 'expert'; use one of"):
        dual_stream_advantage(torch.zeros(1), ["a"], baseline="expert")


@pytest.mark.parametrize(
    "groups",
    [
        np.array(["a", "a", "b"], dtype=object),
        np.array([7, 7, 9]),
        torch.tensor([7, 7, 9]),
        [("x", 1), ("x", 1), None],
    ],
    ids=["objects", "numbers", "tensor", "hashables"],
)
def test_any_hashable_ids_serve(groups):
    advantages_B = dual_stream_advantage(torch.tensor([1, 0, 1]), groups, np.array([False, False, True]))
    assert advantages_B.tolist() == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5), 1.0], rel=1e-5)
    assert advantages_B.dtype == torch.float32
