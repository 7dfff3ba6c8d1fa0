"""λ_s(step): how much each stream's rows weigh at a training step."""

from __future__ import annotations

import math

from medeyes_verl.algorithm.settings import DualStreamSettings


def expert_weight(settings: DualStreamSettings, step: int) -> float:
    """Return the weight of expert rows at a training step: up from 0, at its peak, then down a cosine to its end.

    Args:
        step: counted from 1, as veRL counts training steps.

    Source: the schedule of CHORD's μ (arXiv 2508.11408; Trinity-RFT, chord_policy_loss.py, mu_schedule_function);
    the rise along a cosine is that of SPEAR (arXiv 2509.22601).
    """
    peak, rise, fall = settings.off_policy_weight, settings.off_policy_warmup_steps, settings.off_policy_decay_steps
    if step < rise:
        part = step / rise
        return peak * (part if settings.off_policy_warmup == "linear" else (1 - math.cos(math.pi * part)) / 2)
    end = settings.off_policy_weight_end
    if end is None:
        return peak
    if step >= rise + fall:
        return end
    return end + (peak - end) * (1 + math.cos(math.pi * (step - rise) / fall)) / 2


def stream_weights(settings: DualStreamSettings, step: int, expert_share: float) -> tuple[float, float]:
    """Return what the losses of the policy's and of the experts' rows are multiplied by at a training step.

    Args:
        step: counted from 1.
        expert_share: the experts' part of what the loss is averaged over (rows, or tokens), from 0 to 1.
    """
    experts = expert_weight(settings, step)
    own = settings.on_policy_weight * ((1 - experts) if settings.complementary_weight else 1.0)
    if settings.row_mean == "by_stream":
        own = own / (1 - expert_share) if expert_share < 1 else own
        experts = experts / expert_share if expert_share > 0 else experts
    return own, experts
