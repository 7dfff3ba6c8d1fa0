"""The advantage estimator and the policy loss ``medeyes_dual_stream``, as veRL calls them.

Neither call carries the stream. The estimator reads it from the prompt ids, which our trainer labels. The
loss gets it, and the settings, beside the call: stock ``ppo_loss`` hands a policy loss four tensors and
nothing else, so ``dual_stream_ppo_loss`` wraps it and says which rows are the experts'. Under a trainer that does
neither, both refuse: a guess would train plain GRPO under another name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from verl.trainer.ppo.core_algos import agg_loss, register_adv_est, register_policy_loss

from medeyes_verl.algorithm.advantage import dual_stream_advantage
from medeyes_verl.algorithm.policy_loss import dual_stream_terms
from medeyes_verl.algorithm.settings import DualStreamSettings
from medeyes_verl.config.settings import dual_stream_settings
from medeyes_verl.plugin.streams import OUR_MODES, StreamsUnknownError, split_labels

NUMERATOR, DENOMINATOR = ":numerator", ":denominator"
"""Suffixes of a diagnostic's two halves. veRL averages metrics over micro-batches; a mean of means would be wrong
where micro-batches hold different numbers of expert tokens, so the trainer divides after averaging."""


@dataclass(frozen=True)
class Streams:
    """What a policy loss needs to know beyond its arguments."""

    expert_B: torch.Tensor
    settings: DualStreamSettings


_streams: ContextVar[Streams | None] = ContextVar("medeyes_streams", default=None)


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
        index: (B,) prompt ids, each labelled with its stream (`medeyes_verl.plugin.streams.labelled`).
        config: veRL's algorithm configuration; reads ``medeyes`` and ``norm_adv_by_std_in_grpo``.

    Returns:
        advantages and returns, (B, T) each, equal as in GRPO.

    Raises:
        StreamsUnknownError: an id carries no label, since the trainer in use knows no streams.
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
    """Compute the loss of a micro-batch of both streams; all tensors (B, T).

    Signature: PolicyLossFn (verl core_algos.py). Raises StreamsUnknownError outside `dual_stream_ppo_loss`.
    """
    streams = _streams.get()
    if streams is None:
        raise StreamsUnknownError(
            "the policy loss medeyes_dual_stream was called by a trainer that does not say which rows are experts'. "
            f"Set {OUR_MODES}; or, for veRL's own loss, actor_rollout_ref.actor.policy_loss.loss_mode=vanilla "
            "with algorithm.adv_estimator=grpo. A trainer of your own sends "
            "medeyes_verl.plugin.objective.dual_stream_ppo_loss to its actor with set_loss_fn"
        )
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
