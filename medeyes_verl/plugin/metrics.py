"""What is logged of a training step, per stream, under ``medeyes/on_policy/…`` and ``medeyes/expert/…``.

veRL reduces a metric by its name: one that contains max, min, sum or total is not averaged
(verl/trainer/ppo/v1/utils.py:_get_aggregation_type), so names here avoid them where a mean is meant.
"""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from verl import DataProto
from verl.utils.debug.metrics import calculate_debug_metrics

from medeyes_verl.algorithm.advantage import silent_group_share
from medeyes_verl.expert.replay import SOURCE as REPLAY
from medeyes_verl.gaze.trace import EpisodeTrace
from medeyes_verl.plugin.objective import DENOMINATOR, NUMERATOR
from medeyes_verl.plugin.streams import EXPERT, ON_POLICY

Metrics = dict[str, float]


def stream_metrics(rows: Any, uids: Sequence[str], streams: Sequence[str], real: Sequence[bool]) -> Metrics:
    """Means over the rows of each stream, padding rows left out.

    What only some agent loops or rewards state (`trace`, `source`, `reward_extra_info`) is averaged over the rows that
    have it.

    Args:
        rows: a TensorDict of advantages, response_mask, rm_scores (nested, (B, T)) and extra_fields (B).
        uids, streams, real: per row its prompt, its stream, and whether it is no padding.
    """
    advantages = [row[mask.bool()] for row, mask in zip(rows["advantages"].unbind(), _masks(rows), strict=True)]
    advantages_B = torch.tensor([row[0].item() if len(row) else 0.0 for row in advantages])
    extra_fields = list(rows["extra_fields"])
    traces = [trace_of(fields) for fields in extra_fields]
    metrics: Metrics = {}
    kept = [i for i, is_real in enumerate(real) if is_real]
    calls = any(trace is not None and trace.num_calls for trace in traces)
    silent = silent_group_share(advantages_B[kept], [uids[i] for i in kept], [streams[i] == EXPERT for i in kept])
    for stream in (ON_POLICY, EXPERT):
        members = [i for i in kept if streams[i] == stream]
        if not members:
            continue
        facts = [
            {
                **_trace_facts(traces[i], calls),
                **_numbers(extra_fields[i].get("reward_extra_info") or {}),
                "reward": rows["rm_scores"][i].sum().item(),
                "advantage": advantages_B[i].item(),
                "advantage_size": abs(advantages_B[i].item()),
                "written_tokens": len(advantages[i]),
                "response_length": len(rows["response_mask"][i]),
            }
            for i in members
        ]
        metrics[f"medeyes/{stream}/rows"] = float(len(members))
        metrics[f"medeyes/{stream}/zero_advantage_groups"] = silent[stream]
        metrics[f"medeyes/{stream}/silent_groups"] = silent[stream]  # the older name, for one release
        for name in dict.fromkeys(
            name for fact in facts for name in fact
        ):  # loops and rewards may say different things
            metrics[f"medeyes/{stream}/{name}"] = float(np.mean([fact[name] for fact in facts if name in fact]))
        modes = [mode for i in members if (trace := traces[i]) is not None for mode in trace.modes]
        if modes:
            metrics[f"medeyes/{stream}/scan_share"] = modes.count("scan") / len(modes)
            metrics[f"medeyes/{stream}/drill_share"] = modes.count("drill") / len(modes)
        if stream == EXPERT:
            replayed = [extra_fields[i].get("source") == REPLAY for i in members]
            metrics["medeyes/expert/replayed_share"] = float(np.mean(replayed))
    metrics["medeyes/expert/missing_rows"] = float(sum(bool(extra_fields[i].get("expert_missing")) for i in kept))
    return metrics


def own_rows(rows: Any, expert_B: torch.Tensor) -> Metrics:
    """What veRL has just computed over both streams, over the policy's own rows: experts were sampled by no engine.

    ``training/rollout_probs_diff_*`` says how well trainer and engine agree, ``actor/entropy`` (nats a written
    token) how open the policy still is. Log-probabilities are compared where the engine returned them.
    """
    own = [i for i, expert in enumerate(expert_B.tolist()) if not expert]
    mask = [row.bool() for row in _masks(rows)]
    entropy = torch.cat([rows["entropy"][i][mask[i]] for i in own])
    metrics: Metrics = {"actor/entropy": entropy.mean().item()}
    if "rollout_log_probs" in rows.keys():  # noqa: SIM118  a TensorDict has no __contains__
        padded = rows.select("old_log_probs", "rollout_log_probs", "response_mask", "responses").to_padded_tensor()
        metrics.update(calculate_debug_metrics(DataProto(batch=padded[own])))
    return metrics


def expert_probability(rows: Any, expert_B: torch.Tensor, expert_tokens_B: torch.Tensor | None = None) -> Metrics:
    """Mean π_θ of the experts' tokens before the update: how much of the demonstration the policy would say.

    Args:
        expert_tokens_B: how many leading tokens of an expert's row are the expert's; None: all.
    """
    ends = expert_tokens_B.tolist() if expert_tokens_B is not None else [None] * len(expert_B)
    log_probs = [
        row[:end][mask[:end].bool()]
        for row, mask, expert, end in zip(
            rows["old_log_probs"].unbind(), _masks(rows), expert_B.tolist(), ends, strict=True
        )
        if expert
    ]
    if not log_probs:
        return {}
    return {"medeyes/expert/probability_before": torch.cat(log_probs).exp().mean().item()}


def divided(metrics: dict[str, Any]) -> None:
    """Turn numerators and denominators, averaged over micro-batches and ranks, into their quotients, in place."""
    for key in [key for key in metrics if key.endswith(NUMERATOR)]:
        name = key.removesuffix(NUMERATOR)
        numerator, denominator = metrics.pop(key), metrics.pop(name + DENOMINATOR)
        if denominator:
            metrics[name.removeprefix("actor/")] = float(numerator / denominator)


def _masks(rows: Any) -> Sequence[torch.Tensor]:
    return rows["response_mask"].unbind()


def _numbers(info: Mapping[str, Any]) -> Metrics:
    """What of a row's reward can be averaged; a reward function of the user's may return words beside its score."""
    return {name: float(value) for name, value in info.items() if isinstance(value, numbers.Real)}


def trace_of(extra_fields: Mapping[str, Any]) -> EpisodeTrace | None:
    """The trace in a row's extra fields; None for a loop that is not ours and left none."""
    plain = extra_fields.get("trace")
    return None if plain is None else EpisodeTrace.from_dict(plain)


def _trace_facts(trace: EpisodeTrace | None, calls: bool) -> Metrics:
    """What a trace says; the calls of tools of the user's in a step with any."""
    if trace is None:
        return {}
    return ({"tool_calls": float(trace.num_calls)} if calls else {}) | {
        "format_valid": float(trace.well_formed),
        "answered": float(trace.finish == "answered"),
        "turns": float(trace.num_turns),
    }
