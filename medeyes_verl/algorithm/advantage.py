"""Group-relative advantages with two streams: A_i = (R_i − μ) / (σ + ε), with μ and σ per (prompt, stream).

Plain tensors and ids in, plain tensors out: usable in any trainer. Without streams it is GRPO as veRL
computes it (sample deviation; a group of one has mean 0 and deviation 1). Two things differ on purpose:

- Statistics are taken in float64 about the group's smallest reward, so a group of equal rewards has
  advantages of exactly 0. In float32 the rounding of the mean, divided by ε, is as large as 0.06.
- Under the `on_policy` baseline an expert's advantage is bounded, see `dual_stream_advantage`.

Which prompts experts teach on is a question of its own, asked afterwards: `gated`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any, TypeAlias, get_args

import numpy as np
import torch

from medeyes_verl.algorithm.settings import OffPolicyBaseline

GroupIds: TypeAlias = "Sequence[Hashable] | np.ndarray[Any, Any] | torch.Tensor"
Streams: TypeAlias = "Sequence[bool] | np.ndarray[Any, Any] | torch.Tensor"


def dual_stream_advantage(
    rewards_B: torch.Tensor,
    group_B: GroupIds,
    stream_B: Streams | None = None,
    *,
    baseline: OffPolicyBaseline = "stream",
    epsilon: float = 1e-6,
    normalise_by_std: bool = True,
    least_range: float = 0.0,
) -> torch.Tensor:
    """Advantage of each trajectory.

    Args:
        rewards_B: one reward a trajectory.
        group_B: the prompt each trajectory answers; any hashable ids (strings, ints, a numpy array of them).
        stream_B: True for an expert trajectory; None when all are on-policy.
        baseline: whose rewards an expert is compared with. `stream`: the experts of its prompt; `on_policy`:
            the rollouts of its prompt; `pooled`: both, and then the rollouts are compared with both as well;
            `none`: nothing, an expert's advantage is its reward; `unit`: nothing, an expert's advantage is 1.
        epsilon: keeps the division finite.
        normalise_by_std: False leaves out the division (Dr. GRPO, arXiv 2503.20783).
        least_range: rewards of a group (what the mean and deviation are taken over) that span less count as equal: the
            deviation is 0, and the advantages of those very rows are 0.

    Returns:
        advantages_B, in the dtype and on the device of the rewards.

    Under `on_policy` an expert teaches exactly while it is better than the rollouts of its prompt: where it is not,
    its advantage is 0, not negative, since to be as good is no reason to unlearn how it is done. With normalisation
    it is at most n/√(n+1), n being the number of rollouts: the advantage of a lone outlier that joins n equal ones.
    Where the rollouts (almost) agree, as when all fail, σ is (almost) 0 and the quotient would be anything from
    tens to a million. Without any rollout there is nothing to compare with, and the advantage is 0.

    Raises:
        ValueError: a reward is not finite, the lengths differ, or the baseline is unknown.
    """
    if baseline not in get_args(OffPolicyBaseline):
        raise ValueError(f"baseline is {baseline!r}; use one of {list(get_args(OffPolicyBaseline))}")
    prompt_B, expert_B = _prompt_and_stream(rewards_B, group_B, stream_B)
    _require_finite(rewards_B, group_B)
    values_B = rewards_B.double()

    everyone_B = torch.ones_like(expert_B)
    standardise = partial(_standardise, epsilon=epsilon, normalise_by_std=normalise_by_std, least_range=least_range)
    if baseline in ("stream", "none", "unit"):
        advantages_B = standardise(values_B, 2 * prompt_B + expert_B, everyone_B)
        if baseline != "stream":
            alone_B = values_B if baseline == "none" else torch.ones_like(values_B)
            advantages_B = torch.where(expert_B, alone_B, advantages_B)
    elif baseline == "pooled":
        advantages_B = standardise(values_B, prompt_B, everyone_B)
    else:
        advantages_B = standardise(values_B, prompt_B, ~expert_B)
        rollouts_B = _group_sum(~expert_B, prompt_B)[prompt_B]
        unbounded_B = torch.where(rollouts_B > 0, torch.inf, 0.0)
        bound_B = rollouts_B / torch.sqrt(rollouts_B + 1) if normalise_by_std else unbounded_B
        advantages_B = torch.where(expert_B, advantages_B.clamp(torch.zeros_like(bound_B), bound_B), advantages_B)
    return advantages_B.to(rewards_B.dtype if rewards_B.is_floating_point() else torch.get_default_dtype())


def gated(
    advantages_B: torch.Tensor,
    rewards_B: torch.Tensor,
    group_B: GroupIds,
    stream_B: Streams,
    *,
    solved_reward: float,
    solve_rate: float,
    drop_rollouts: bool,
) -> torch.Tensor:
    """Let experts teach only on prompts that the policy does not solve; elsewhere their advantages become 0.

    Args:
        solved_reward, solve_rate: see `unsolved`.
        drop_rollouts: also set the rollouts of unsolved prompts to 0 (HPT, arXiv 2509.04419: per prompt either the
            policy gradient or the fine-tuning loss).
    """
    _, expert_B = _prompt_and_stream(advantages_B, group_B, stream_B)
    unsolved_B = unsolved(rewards_B, group_B, stream_B, solved_reward=solved_reward, solve_rate=solve_rate)
    off_B = (expert_B & ~unsolved_B) | (~expert_B & unsolved_B & drop_rollouts)
    return advantages_B.masked_fill(off_B, 0.0)


def unsolved(
    rewards_B: torch.Tensor, group_B: GroupIds, stream_B: Streams, *, solved_reward: float, solve_rate: float
) -> torch.Tensor:
    """Say of each row whether the policy does not solve its prompt, (B,) booleans.

    Args:
        solved_reward: a rollout with at least this reward counts as solved, up to float32 rounding.
        solve_rate: a prompt counts as unsolved when at most this share of its rollouts is; one without rollouts is.
    """
    prompt_B, expert_B = _prompt_and_stream(rewards_B, group_B, stream_B)
    rollouts_G = _group_sum(~expert_B, prompt_B)
    solved_G = _group_sum(~expert_B & (rewards_B.double() >= solved_reward - 1e-6), prompt_B)
    return (solved_G <= solve_rate * rollouts_G)[prompt_B]


def silent_group_share(
    advantages_B: torch.Tensor,
    group_B: GroupIds,
    stream_B: Streams | None = None,
) -> dict[str, float]:
    """Share of (prompt, stream) groups in which every advantage is 0, so that nothing is learnt from them.

    Returns a share for each stream that has rows: keys `on_policy` and `expert`.
    """
    prompt_B, expert_B = _prompt_and_stream(advantages_B, group_B, stream_B)
    shares = {}
    for name, member_B in (("on_policy", ~expert_B), ("expert", expert_B)):
        if member_B.any():
            rows_G = _group_sum(member_B, prompt_B)
            heard_G = _group_sum(member_B & (advantages_B != 0), prompt_B)
            shares[name] = float((heard_G[rows_G > 0] == 0).double().mean())
    return shares


def _prompt_and_stream(
    rows_B: torch.Tensor,
    group_B: GroupIds,
    stream_B: Streams | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids as 0 … G−1 and streams as booleans, both (B,) on the device of the rows."""
    ids = group_B.tolist() if isinstance(group_B, torch.Tensor) else group_B
    number: dict[Hashable, int] = {}
    numbers = [number.setdefault(group, len(number)) for group in ids]
    prompt_B = torch.tensor(numbers, dtype=torch.long, device=rows_B.device)
    if stream_B is None:
        expert_B = torch.zeros_like(prompt_B, dtype=torch.bool)
    else:
        expert_B = torch.as_tensor(stream_B, dtype=torch.bool, device=rows_B.device)
    if not rows_B.shape == prompt_B.shape == expert_B.shape:
        raise ValueError(
            f"one reward, group and stream a trajectory is needed; got shapes {tuple(rows_B.shape)}, "
            f"{tuple(prompt_B.shape)} and {tuple(expert_B.shape)}"
        )
    return prompt_B, expert_B


def _require_finite(rewards_B: torch.Tensor, group_B: GroupIds) -> None:
    bad = torch.nonzero(~torch.isfinite(rewards_B)).flatten().tolist()
    if bad:
        first = ", ".join(f"row {row} (group {group_B[row]}): {rewards_B[row].item()}" for row in bad[:3])
        raise ValueError(f"{len(bad)} of {len(rewards_B)} rewards are not finite ({first}); mend the reward")


def _standardise(
    values_B: torch.Tensor,
    group_B: torch.Tensor,
    reference_B: torch.Tensor,
    *,
    epsilon: float,
    normalise_by_std: bool,
    least_range: float,
) -> torch.Tensor:
    """(value − mean) / (deviation + ε), the statistics being those of the reference rows of each group."""
    count_G = _group_sum(reference_B, group_B)
    # Measured from the smallest reference value, equal rewards are exactly equal to their mean.
    smallest_G = torch.full_like(count_G, torch.inf).scatter_reduce(
        0, group_B, values_B.masked_fill(~reference_B, torch.inf), "amin"
    )
    origin_G = torch.where(count_G > 1, smallest_G, 0.0)
    shifted_B = values_B - origin_G[group_B]
    mean_G = torch.where(count_G > 1, _group_sum(shifted_B * reference_B, group_B) / count_G, 0.0)
    centred_B = shifted_B - mean_G[group_B]
    largest_G = torch.full_like(count_G, -torch.inf).scatter_reduce(
        0, group_B, values_B.masked_fill(~reference_B, -torch.inf), "amax"
    )
    equal_G = (count_G > 1) & (largest_G - smallest_G < least_range)
    centred_B = centred_B.masked_fill(equal_G[group_B] & reference_B, 0.0)
    if not normalise_by_std:
        return centred_B
    variance_G = _group_sum(centred_B.square() * reference_B, group_B) / (count_G - 1)
    deviation_G = torch.where(count_G > 1, variance_G.sqrt(), 1.0)
    return centred_B / (deviation_G[group_B] + epsilon)


def _group_sum(values_B: torch.Tensor, group_B: torch.Tensor) -> torch.Tensor:
    """Sum (for booleans, count) of each group, (G,) float64; ids 0 … G−1 without rows sum to 0."""
    size = int(group_B.max()) + 1 if group_B.numel() else 0
    sums_G = torch.zeros(size, dtype=torch.float64, device=values_B.device)
    return sums_G.index_add(0, group_B, values_B.double())
