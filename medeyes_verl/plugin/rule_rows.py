"""What a rule needs of a step's rows beyond the streams: behaviour probabilities, the experts' share, metrics."""

from collections.abc import Sequence
from typing import Any

import torch

from medeyes_verl.algorithm.advantage import unsolved
from medeyes_verl.algorithm.schedule import stream_weights
from medeyes_verl.algorithm.settings import DualStreamSettings
from medeyes_verl.plugin.streams import EXPERT

Metrics = dict[str, float]


def behaviour_field(settings: DualStreamSettings) -> str | None:
    """Return the row field that the behaviour's log-probabilities are copied from; None where π_expert = 1."""
    fields = {"certain": None, "stored": "rollout_log_probs", "policy": "old_log_probs", "mixture": "old_log_probs"}
    return fields[settings.expert_log_probs]


def require_behaviour(rows: Any, field: str, expert_B: torch.Tensor) -> Metrics:
    """Count the expert rows that came without log-probabilities of their own.

    An agent loop that has none writes 0 for every token, which is π_expert = 1.

    Raises:
        ValueError: `stored` is asked for, and no expert row of the step has any.
    """
    if field != "rollout_log_probs" or not expert_B.any():
        return {}
    without = [
        not bool(row[mask.bool()].any())
        for row, mask, expert in zip(
            rows[field].unbind(), rows["response_mask"].unbind(), expert_B.tolist(), strict=True
        )
        if expert
    ]
    if all(without):
        raise ValueError(
            f"algorithm.medeyes.expert_log_probs=stored, but none of the {len(without)} expert rows of this step came "
            "with log-probabilities: the agent loop returns them as response_logprobs. Set "
            "algorithm.medeyes.expert_log_probs=certain, or replay trajectories that have them "
            "(actor_rollout_ref.rollout.custom.medeyes.off_policy_source=replay)"
        )
    return {"medeyes/expert/without_log_probs": sum(without) / len(without)}


def expert_tokens(extra_fields: Sequence[Any], rows: Any, expert_B: torch.Tensor) -> torch.Tensor:
    """Count the leading response tokens of each row that are an expert's, (B,): all or none, but for a prefix.

    An agent loop whose row the policy goes on with says where it begins, in ``extra_fields["expert_tokens"]``.
    """
    lengths = [len(row) for row in rows["response_mask"].unbind()]
    counts = [
        min(int(fields.get("expert_tokens", length)), length) if expert else 0
        for fields, length, expert in zip(extra_fields, lengths, expert_B.tolist(), strict=True)
    ]
    return torch.tensor(counts)


def expert_share(rows: Any, expert_B: torch.Tensor, real: Sequence[bool], by_tokens: bool) -> float:
    """Return the experts' share of the real rows, or of the tokens that the model wrote in them."""
    sizes = [
        (float(mask.sum()) if by_tokens else 1.0) if is_real else 0.0
        for mask, is_real in zip(rows["response_mask"].unbind(), real, strict=True)
    ]
    size_B = torch.tensor(sizes, dtype=torch.float64)
    return float((size_B * expert_B).sum() / size_B.sum()) if size_B.sum() > 0 else 0.0


def weight_metrics(settings: DualStreamSettings, step: int, share: float) -> Metrics:
    """Log what the streams weigh at this step."""
    own, experts = stream_weights(settings, step, share)
    return {"medeyes/on_policy/weight": own, "medeyes/expert/weight": experts}


def gate_metrics(
    rows: Any, uids: Sequence[str], streams: Sequence[str], real: Sequence[bool], settings: DualStreamSettings
) -> Metrics:
    """Log the share of prompts that the gate holds for unsolved, so that experts teach on them; none without a gate."""
    if settings.off_policy_gate == "always":
        return {}
    kept = [i for i, is_real in enumerate(real) if is_real]
    unsolved_B = unsolved(
        torch.stack([rows["rm_scores"][i].sum() for i in kept]),
        [uids[i] for i in kept],
        [streams[i] == EXPERT for i in kept],
        solved_reward=settings.solved_reward,
        solve_rate=settings.gate_solve_rate,
    )
    of_prompts = {uids[i]: is_unsolved for i, is_unsolved in zip(kept, unsolved_B.tolist(), strict=True)}
    return {"medeyes/on_policy/unsolved_prompts": sum(of_prompts.values()) / len(of_prompts)}
