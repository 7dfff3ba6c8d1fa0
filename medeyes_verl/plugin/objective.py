"""The advantage estimator and the policy loss ``medeyes_dual_stream``, as veRL calls them.

Neither call carries the stream. The estimator reads it from the prompt ids, which our trainer labels. The
loss gets it, and the settings, beside the call: stock ``ppo_loss`` hands a policy loss four tensors and
nothing else, so ``dual_stream_ppo_loss`` wraps it and says which rows are the experts'. Under a trainer that does
neither, both refuse: a guess would train plain GRPO under another name.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from verl.trainer.ppo.core_algos import agg_loss, get_policy_loss_fn, register_adv_est, register_policy_loss

from medeyes_verl.algorithm.advantage import dual_stream_advantage, gated
from medeyes_verl.algorithm.policy_loss import DualStreamTerms, dual_stream_terms
from medeyes_verl.algorithm.schedule import stream_weights
from medeyes_verl.algorithm.settings import OURS, DualStreamSettings
from medeyes_verl.config.settings import dual_stream_settings
from medeyes_verl.plugin.streams import OUR_MODES, StreamsUnknownError, split_labels

NUMERATOR, DENOMINATOR = ":numerator", ":denominator"
"""Suffixes of a diagnostic's two halves. veRL averages metrics over micro-batches; a mean of means would be wrong
where micro-batches hold different numbers of expert tokens, so the trainer divides after averaging."""


STEP, EXPERT_SHARE = "medeyes_step", "medeyes_expert_share"
"""What our trainer sends with each batch to the actor (``KVBatchMeta.extra_info``): the training step, and the experts'
share of what the loss is averaged over."""
EXPERT_TOKENS = "expert_tokens"
"""The row field with the number of leading response tokens that are an expert's; absent: all of an expert's row."""
BEHAVIOUR = "behaviour_log_probs"
"""The row field with what `expert_log_probs` needs on expert rows; absent for `certain`."""


@dataclass(frozen=True)
class Streams:
    """What a policy loss needs to know beyond its arguments."""

    expert_B: torch.Tensor
    """True for an expert's row."""
    settings: DualStreamSettings
    weights: tuple[float, float]
    """What the losses of the policy's and the experts' rows are multiplied by at this step."""
    behaviour_log_probs_BT: torch.Tensor | None = None
    expert_tokens_B: torch.Tensor | None = None
    """How many leading tokens of an expert's row are the expert's; None: all."""

    def of_experts(self, like_BT: torch.Tensor) -> torch.Tensor:
        """Say which tokens are an expert's, (B, T)."""
        rows_BT = self.expert_B.bool().unsqueeze(-1).expand_as(like_BT)
        if self.expert_tokens_B is None:
            return rows_BT
        place_T = torch.arange(like_BT.shape[-1], device=like_BT.device)
        return rows_BT & (place_T < self.expert_tokens_B.unsqueeze(-1))


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
    settings = dual_stream_settings(algorithm)
    rewards_B = token_level_rewards.sum(dim=-1)
    advantages_B = dual_stream_advantage(
        rewards_B,
        prompts,
        experts,
        baseline=settings.off_policy_baseline,
        normalise_by_std=algorithm.get("norm_adv_by_std_in_grpo", True),
        least_range=settings.least_reward_range,
    )
    if settings.off_policy_gate == "unsolved":
        advantages_B = gated(
            advantages_B,
            rewards_B,
            prompts,
            experts,
            solved_reward=settings.solved_reward,
            solve_rate=settings.gate_solve_rate,
            drop_rollouts=settings.gated_rollouts == "drop",
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
    if streams.settings.on_policy_loss != OURS:
        return mixed_policy_loss(
            old_log_prob, log_prob, advantages, response_mask, loss_agg_mode, config, rollout_is_weights, streams
        )
    terms = _terms(old_log_prob, log_prob, advantages, response_mask, config, rollout_is_weights, streams)
    loss = agg_loss(
        loss_mat=terms.loss_BT,
        loss_mask=response_mask,
        loss_agg_mode=loss_agg_mode,
        **config.global_batch_info,
    )
    return loss, _halves(terms.diagnostics)


def mixed_policy_loss(
    old_log_prob: torch.Tensor,
    log_prob: torch.Tensor,
    advantages: torch.Tensor,
    response_mask: torch.Tensor,
    loss_agg_mode: str,
    config: Any,
    rollout_is_weights: torch.Tensor | None,
    streams: Streams,
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Compute veRL's registered loss on the policy's tokens and ours on the experts', averaged over both together.

    Without experts the result is that of veRL's function to the last bit: it gets what it would get from a stock
    trainer. With experts it gets their tokens masked, with ratio 1 and advantage 0; masked tokens count in no mean over
    tokens or rows, and the divisors are those of the whole mini-batch, which ``ppo_loss`` says.

    Raises:
        ValueError: veRL knows no such loss, nobody said how many rows and tokens the mini-batch has, or a row has
            tokens of both streams, over which two losses have no common mean.
    """
    expert_BT = streams.of_experts(log_prob)
    experts = bool(expert_BT.any())
    info = config.global_batch_info
    divisor = "batch_num_tokens" if loss_agg_mode == "token-mean" else "global_batch_size"
    if experts and info.get(divisor) is None:
        raise ValueError(
            f"config.global_batch_info has no {divisor}: two losses cannot be averaged over one mini-batch"
        )
    written_BT = response_mask.bool()
    own_BT = written_BT & ~expert_BT
    if bool((own_BT.any(-1) & (written_BT & expert_BT).any(-1)).any()):
        raise ValueError(
            f"on_policy_loss={streams.settings.on_policy_loss} with rows that an expert begins and the policy ends: a "
            f"mean over such a row needs one loss; set algorithm.medeyes.on_policy_loss={OURS}"
        )
    theirs = get_policy_loss_fn(streams.settings.on_policy_loss)
    loss, told = theirs(
        old_log_prob=torch.where(expert_BT, log_prob.detach(), old_log_prob) if experts else old_log_prob,
        log_prob=log_prob,
        advantages=advantages.masked_fill(expert_BT, 0.0) if experts else advantages,
        response_mask=own_BT if experts else response_mask,
        loss_agg_mode=loss_agg_mode,
        config=config,
        rollout_is_weights=rollout_is_weights,
    )
    own_weight = streams.weights[0]
    loss = loss if own_weight == 1 else loss * own_weight
    terms = _terms(old_log_prob, log_prob, advantages, response_mask, config, rollout_is_weights, streams)
    if experts:
        shown_BT = written_BT & expert_BT
        loss = loss + agg_loss(terms.loss_BT, shown_BT, loss_agg_mode, **info)
    of_experts = {name: halves for name, halves in terms.diagnostics.items() if name.startswith("expert/")}
    tokens = own_BT.sum().float()
    of_own = {
        f"on_policy/{name.removeprefix('actor/')}": (tokens * float(value), tokens) for name, value in told.items()
    }
    return loss, _halves({**of_experts, **of_own})


def _terms(
    old_log_prob: torch.Tensor,
    log_prob: torch.Tensor,
    advantages: torch.Tensor,
    response_mask: torch.Tensor,
    config: Any,
    rollout_is_weights: torch.Tensor | None,
    streams: Streams,
) -> DualStreamTerms:
    clip = config.clip_ratio
    return dual_stream_terms(
        log_prob,
        old_log_prob,
        advantages,
        response_mask,
        streams.of_experts(log_prob),
        streams.settings,
        clip_low=config.clip_ratio_low if config.clip_ratio_low is not None else clip,
        clip_high=config.clip_ratio_high if config.clip_ratio_high is not None else clip,
        clip_c=config.get("clip_ratio_c", 3.0),
        rollout_is_weights_BT=rollout_is_weights,
        behaviour_log_probs_BT=streams.behaviour_log_probs_BT,
        weights=streams.weights,
    )


def _halves(diagnostics: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> dict[str, Any]:
    metrics = {}
    for name, (numerator, denominator) in diagnostics.items():
        metrics[f"medeyes/{name}{NUMERATOR}"] = numerator.item()
        metrics[f"medeyes/{name}{DENOMINATOR}"] = denominator.item()
    return metrics


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

    The trainer sends it to the actor through ``set_loss_fn``, so entropy, KL and aggregation stay veRL's own. It reads
    the training step and the experts' share from the batch (`STEP`, `EXPERT_SHARE`); a trainer of your own that sends
    neither gets constant weights.

    Raises:
        ValueError: the settings need the step, the share or the behaviour's log-probabilities, and the batch has none.
    """
    from verl.workers.utils.losses import ppo_loss  # the actor process has it; the driver need not load it

    behaviour = None
    if settings.expert_log_probs != "certain":
        if BEHAVIOUR not in data.keys():  # noqa: SIM118  a TensorDict has no __contains__
            raise ValueError(
                f"expert_log_probs is {settings.expert_log_probs!r}, but the batch has no field {BEHAVIOUR}; "
                f"set {OUR_MODES}, or write the field into your trainer's batch"
            )
        behaviour = data.select(BEHAVIOUR).to_padded_tensor()[BEHAVIOUR]
    tokens = data[EXPERT_TOKENS] if EXPERT_TOKENS in data.keys() else None  # noqa: SIM118
    with _told(Streams(data["expert"].bool(), settings, weights_of(data, settings), behaviour, tokens)):
        return ppo_loss(config, model_output, data, dp_group)


def weights_of(data: TensorDict, settings: DualStreamSettings) -> tuple[float, float]:
    """Return the weights of the policy's and the experts' rows in a batch that `STEP` and `EXPERT_SHARE` came with.

    Raises:
        ValueError: the weights depend on what the batch does not say.
    """
    from verl.utils import tensordict_utils as tu  # as above

    step, share = (tu.get_non_tensor_data(data, key, None) for key in (STEP, EXPERT_SHARE))
    depends = settings.off_policy_warmup_steps or settings.off_policy_decay_steps
    if (depends and step is None) or (settings.row_mean == "by_stream" and share is None):
        raise ValueError(
            f"the weights of the streams depend on the training step or the number of experts, and the batch says "
            f"neither: set {OUR_MODES}; a trainer of your own puts {STEP} and {EXPERT_SHARE} into extra_info"
        )
    return stream_weights(settings, int(step or 0), float(share or 0.0))
