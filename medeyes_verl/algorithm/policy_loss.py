"""The clipped policy loss of two streams, a value for each token: −λ h min(w A, clip(w, 1−ε, 1+ε) A).

On-policy rows: w = π_θ/π_old, to the last bit what veRL's `vanilla` loss computes, its dual clip
(arXiv 1912.09729) and its bound on the log ratio included. Expert rows: the expert is taken to have chosen
its tokens with probability b, 1 by default (MedEyes, from LUFFY), so ρ = π_θ/b and w = ρ, or with shaping
w = ρ/(ρ + γ) or ln π_θ. There is no dual clip, which guards against a large ratio: with b = 1, w ≤ 1. With stored b
or b = π_old there is.
h is a weight of the token without gradient and λ the weight of the stream; both scale the loss after the clip.

Under shaping the clip applies to w, the weight the loss uses, not to π_θ. Then w < 1/(1+γ) never reaches the
upper end, so for A > 0 the clip does nothing; for A < 0 a token is frozen once w < 1−ε, that is
π_θ < γ(1−ε)/ε (0.4 at γ = 0.1, ε = 0.2). LUFFY's own loss is `luffy` with `off_policy_clip=False`. ln π_θ is below
1−ε for every token: with the clip, experts with A < 0 teach nothing.

Aggregation is the caller's: the paper's 1/N Σ_i 1/|τ_i| Σ_t is veRL's `seq-mean-token-mean`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from medeyes_verl.algorithm.settings import DualStreamSettings

LOG_RATIO_BOUND = 20.0
"""veRL's bound on |log π_θ − log π_old|, so that the ratio stays finite in float32."""


@dataclass(frozen=True, slots=True)
class DualStreamTerms:
    """What the policy loss is made of."""

    loss_BT: torch.Tensor
    """Loss of each token, with gradient; entries outside the mask mean nothing."""

    diagnostics: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    """Name → (sum, number of tokens), scalars without gradient: added up over micro-batches and ranks before
    the division they give the true mean. `<stream>` is `on_policy` or `expert`:

    - `<stream>/clip_fraction`: tokens that the clip has taken out of the gradient
    - `<stream>/gradient_weight`: |∂loss/∂log π_θ| / |A|, over tokens with A ≠ 0
    - `on_policy/dual_clip_fraction`: tokens that the dual clip has taken out
    - `on_policy/approx_kl`: log π_old − log π_θ
    - `expert/mean_probability`: π_θ
    """


def dual_stream_terms(
    log_probs_BT: torch.Tensor,
    old_log_probs_BT: torch.Tensor,
    advantages_BT: torch.Tensor,
    mask_BT: torch.Tensor,
    expert_B: torch.Tensor,
    settings: DualStreamSettings,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    clip_c: float = 3.0,
    rollout_is_weights_BT: torch.Tensor | None = None,
    behaviour_log_probs_BT: torch.Tensor | None = None,
    weights: tuple[float, float] | None = None,
) -> DualStreamTerms:
    """Loss and diagnostics of a batch of both streams.

    Args:
        log_probs_BT: log π_θ of the tokens, with gradient.
        old_log_probs_BT: log π_old; ignored on expert rows.
        advantages_BT: the trajectory's advantage at each of its tokens.
        mask_BT: True (or 1) where the model wrote the token; False for observations and padding.
        expert_B: True for an expert trajectory; or (B, T), True for an expert's token.
        clip_low, clip_high: ε below and above, for both streams.
        clip_c: where the dual clip bounds the loss of on-policy tokens with A < 0, in units of |A|.
        rollout_is_weights_BT: rollout correction; on-policy rows only, as no engine sampled the experts.
        behaviour_log_probs_BT: on expert rows what `settings.expert_log_probs` needs: the stored log-probabilities, or
            log π_old for `policy` and `mixture`; not read for `certain`.
        weights: what the policy's and the experts' tokens are multiplied by; None: the constants of the settings.

    Raises:
        ValueError: clip_c is not above 1, or behaviour_log_probs_BT is needed and None.
    """
    if not clip_c > 1:
        raise ValueError(f"clip_c is {clip_c}; the dual clip bounds the loss at clip_c·|A|, clip_c > 1")
    expert_BT = expert_B.to(torch.bool)
    if expert_BT.dim() == 1:
        expert_BT = expert_BT.unsqueeze(-1).expand_as(log_probs_BT)
    written_BT = mask_BT.to(torch.bool)
    log_behaviour_BT = _log_behaviour(settings, old_log_probs_BT, expert_BT, behaviour_log_probs_BT)
    log_ratio_BT = _log_ratio(settings, log_probs_BT - log_behaviour_BT, written_BT)
    unbounded_BT = log_ratio_BT
    log_ratio_BT = torch.clamp(log_ratio_BT, min=-LOG_RATIO_BOUND, max=LOG_RATIO_BOUND)
    ratio_BT = torch.exp(log_ratio_BT)
    weight_BT = slope_BT = ratio_BT  # slope: ∂weight / ∂log π_θ of the token, or of all the tokens that share it
    if settings.off_policy_shaping == "luffy":
        gamma = settings.shaping_gamma
        weight_BT = torch.where(expert_BT, ratio_BT / (ratio_BT + gamma), ratio_BT)
        slope_BT = torch.where(expert_BT, gamma * ratio_BT / (ratio_BT + gamma).square(), ratio_BT)
    elif settings.off_policy_shaping == "log":
        weight_BT = torch.where(expert_BT, unbounded_BT, ratio_BT)  # no exponential, so no bound
        slope_BT = torch.where(expert_BT, torch.ones_like(ratio_BT), ratio_BT)

    plain_BT = -advantages_BT * weight_BT
    limited_BT = -advantages_BT * torch.clamp(weight_BT, 1 - clip_low, 1 + clip_high)
    clippable_BT = ~expert_BT | settings.off_policy_clip
    clipped_BT = torch.where(clippable_BT, torch.maximum(plain_BT, limited_BT), plain_BT)
    ceiling_BT = -advantages_BT * clip_c
    dual_clips_experts = settings.expert_log_probs in ("stored", "policy") and settings.off_policy_clip
    dual_clippable_BT = (~expert_BT | dual_clips_experts) & (advantages_BT < 0)
    loss_BT = torch.where(dual_clippable_BT, torch.minimum(ceiling_BT, clipped_BT), clipped_BT)

    of_streams = weights if weights is not None else (settings.on_policy_weight, settings.off_policy_weight)
    scale_BT = loss_BT.new_tensor(of_streams)[expert_BT.long()]
    if rollout_is_weights_BT is not None:
        scale_BT = scale_BT * rollout_is_weights_BT.masked_fill(expert_BT, 1.0)
    probability_BT = torch.exp(log_probs_BT.detach())
    if settings.off_policy_focus != "none":
        scale_BT = torch.where(expert_BT, scale_BT * _focus(settings, probability_BT), scale_BT)

    with torch.no_grad():
        by_clip_BT = clippable_BT & (limited_BT > plain_BT)
        by_dual_clip_BT = dual_clippable_BT & (clipped_BT > ceiling_BT)
        bounded_BT = unbounded_BT.abs() > LOG_RATIO_BOUND
        if settings.off_policy_shaping == "log":
            bounded_BT = bounded_BT & ~expert_BT
        moving_BT = ~(by_clip_BT | by_dual_clip_BT | bounded_BT)
        gradient_weight_BT = slope_BT * moving_BT * _shared(settings, scale_BT.abs(), written_BT)
        rollout_BT, demonstration_BT = written_BT & ~expert_BT, written_BT & expert_BT
        taught_BT = advantages_BT != 0
        diagnostics = {
            "on_policy/clip_fraction": _mean_terms(by_clip_BT, rollout_BT),
            "on_policy/dual_clip_fraction": _mean_terms(by_dual_clip_BT, rollout_BT),
            "on_policy/approx_kl": _mean_terms(-log_ratio_BT, rollout_BT),
            "on_policy/gradient_weight": _mean_terms(gradient_weight_BT, rollout_BT & taught_BT),
            "expert/clip_fraction": _mean_terms(by_clip_BT, demonstration_BT),
            "expert/mean_probability": _mean_terms(probability_BT, demonstration_BT),
            "expert/gradient_weight": _mean_terms(gradient_weight_BT, demonstration_BT & taught_BT),
        }
    return DualStreamTerms(loss_BT * scale_BT, diagnostics)


def _log_behaviour(
    settings: DualStreamSettings,
    old_log_probs_BT: torch.Tensor,
    expert_BT: torch.Tensor,
    given_BT: torch.Tensor | None,
) -> torch.Tensor:
    """log π_old on the policy's tokens, log b on the experts'."""
    if settings.expert_log_probs == "certain":
        return old_log_probs_BT.masked_fill(expert_BT, 0.0)
    if given_BT is None:
        raise ValueError(f"expert_log_probs is {settings.expert_log_probs!r}, but no log-probabilities were given")
    if settings.expert_log_probs == "mixture":  # b = ½(π_old + ½(π_old + 1)); RL-PLUS, rlplus_core_alg.py
        given_BT = torch.log(0.75 * torch.exp(given_BT) + 0.25)
    return torch.where(expert_BT, given_BT, old_log_probs_BT)


def _log_ratio(settings: DualStreamSettings, of_tokens_BT: torch.Tensor, written_BT: torch.Tensor) -> torch.Tensor:
    """log ρ of each token; under the sequence readings all tokens of a row have the same."""
    if settings.ratio == "token":
        return of_tokens_BT
    of_rows_B1 = of_tokens_BT.masked_fill(~written_BT, 0.0).sum(-1, keepdim=True)
    if settings.ratio == "sequence_mean":
        of_rows_B1 = of_rows_B1 / written_BT.sum(-1, keepdim=True).clamp(min=1)
    return of_rows_B1.expand_as(of_tokens_BT)


def _shared(settings: DualStreamSettings, scale_BT: torch.Tensor, written_BT: torch.Tensor) -> torch.Tensor:
    """What a token's slope is multiplied by: its own scale, or those of all the tokens whose ratio it is part of."""
    if settings.ratio == "token":
        return scale_BT
    of_rows_B1 = scale_BT.masked_fill(~written_BT, 0.0).sum(-1, keepdim=True)
    if settings.ratio == "sequence_mean":
        of_rows_B1 = of_rows_B1 / written_BT.sum(-1, keepdim=True).clamp(min=1)
    return of_rows_B1.expand_as(scale_BT)


def _focus(settings: DualStreamSettings, probability_BT: torch.Tensor) -> torch.Tensor:
    """h of each token, without gradient."""
    if settings.off_policy_focus == "uncertain":
        return probability_BT * (1 - probability_BT)
    return (1 - probability_BT).clamp(min=0.0) ** settings.focus_power


def _mean_terms(values_BT: torch.Tensor, mask_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Numerator and denominator of the mean over the mask."""
    return values_BT.float().masked_fill(~mask_BT, 0.0).sum(), mask_BT.float().sum()
