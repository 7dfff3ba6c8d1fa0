"""The advantage estimator and the policy loss ``medeyes_dual_stream``, as veRL calls them.

Neither call carries the stream. The estimator reads it from the prompt ids, which our trainer labels. The
loss gets it, and the settings, beside the call: stock ``ppo_loss`` hands a policy loss four tensors and
nothing else, so ``dual_stream_ppo_loss`` wraps it and says which rows are the experts'. In a run with another
trainer the loss uses the paper's settings and takes a row for an expert's when all its old
log-probabilities are 0, which is what π_expert = 1 means.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from tensordict import TensorDict
from verl.trainer.ppo.core_algos import agg_loss, register_adv_est, register_policy_loss

from medeyes_verl.algorithm.advantage import dual_stream_advantage
from medeyes_verl.algorithm.policy_loss import dual_stream_terms
from medeyes_verl.algorithm.settings import DualStreamSettings
from medeyes_verl.plugin.streams import split_labels

NUMERATOR, DENOMINATOR = ":numerator", ":denominator"
"""Suffixes of a diagnostic's two halves. veRL averages metrics over micro-batches; a mean of means would be wrong
where micro-batches hold different numbers of expert tokens, so the trainer divides after averaging."""


@dataclass(frozen=True)
class Streams:
    """What a policy loss needs to know beyond its arguments."""

    expert_B: torch.Tensor
    settings: DualStreamSettings


_streams: ContextVar[Streams | None] = ContextVar("medeyes_streams", default=None)


def dual_stream_settings(algorithm_config: Any) -> DualStreamSettings:
    """``algorithm.medeyes`` of a veRL configuration; absent keys are the paper's. Raises ValueError."""
    given = (algorithm_config or {}).get("medeyes") or {}
    return DualStreamSettings.from_mapping(
        OmegaConf.to_container(given, resolve=True) if isinstance(given, DictConfig) else given
    )


@register_adv_est("medeyes_dual_stream")
def dual_stream_estimator(
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    index: np.ndarray,
    config: Any = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages per (prompt, stream), spread over each trajectory's own tokens.

    Args:
        token_level_rewards: (B, T), the trajectory's reward on its last token.
        response_mask: (B, T), 1 on tokens that the model wrote.
        index: (B,) prompt ids, labelled with the stream by our trainer; plain ids are all on-policy.
        config: veRL's algorithm configuration; reads ``medeyes`` and ``norm_adv_by_std_in_grpo``.

    Returns:
        advantages and returns, (B, T) each, equal as in GRPO.
    """
    prompts, experts = split_labels(index)
    algorithm = config if config is not None else {}
    advantages_B = dual_stream_advantage(
        token_level_rewards.sum(dim=-1),
        prompts,
        experts,
        baseline=dual_stream_settings(algorithm).off_policy_baseline,
        normalise_by_std=algorithm.get("norm_adv_by_std_in_grpo", True),
    )
    advantages_BT = advantages_B.unsqueeze(-1) * response_mask
    return advantages_BT, advantages_BT


@register_policy_loss("medeyes_dual_stream")
def dual_stream_policy_loss(
    old_log_prob: torch.Tensor,
    log_prob: torch.Tensor,
    advantages: torch.Tensor,
    response_mask: torch.Tensor,
    loss_agg_mode: str = "seq-mean-token-mean",
    config: Any = None,
    rollout_is_weights: torch.Tensor | None = None,
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Loss of a micro-batch of both streams; all tensors (B, T). Signature: PolicyLossFn (verl core_algos.py)."""
    streams = _streams.get()
    if streams is None:
        expert_B = ((old_log_prob == 0) | ~response_mask.bool()).all(dim=-1) & response_mask.bool().any(dim=-1)
        streams = Streams(expert_B, DualStreamSettings())
    clip = config.clip_ratio
    terms = dual_stream_terms(
        log_prob,
        old_log_prob,
        advantages,
        response_mask,
        streams.expert_B,
        streams.settings,
        clip_low=config.clip_ratio_low if config.clip_ratio_low is not None else clip,
        clip_high=config.clip_ratio_high if config.clip_ratio_high is not None else clip,
        clip_c=config.get("clip_ratio_c", 3.0),
        rollout_is_weights_BT=rollout_is_weights,
    )
    loss = agg_loss(
        loss_mat=terms.loss_BT,
        loss_mask=response_mask,
        loss_agg_mode=loss_agg_mode,
        **config.global_batch_info,
    )
    metrics = {}
    for name, (numerator, denominator) in terms.diagnostics.items():
        metrics[f"medeyes/{name}{NUMERATOR}"] = numerator.item()
        metrics[f"medeyes/{name}{DENOMINATOR}"] = denominator.item()
    return loss, metrics


@contextmanager
def _told(streams: Streams) -> Iterator[None]:
    token = _streams.set(streams)
    try:
        yield
    finally:
        _streams.reset(token)


def dual_stream_ppo_loss(
    config: Any, model_output: Any, data: TensorDict, dp_group: Any = None, *, settings: DualStreamSettings
) -> tuple[torch.Tensor, dict[str, Any]]:
    """veRL's ``ppo_loss`` with the streams of ``data["expert"]`` told to the policy loss.

    The trainer sends it to the actor through ``set_loss_fn``, so entropy, KL and aggregation stay veRL's own.
    """
    from verl.workers.utils.losses import ppo_loss  # the actor process has it; the driver need not load it

    with _told(Streams(data["expert"].bool(), settings)):
        return ppo_loss(config, model_output, data, dp_group)
