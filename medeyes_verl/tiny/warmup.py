"""Warm-up of the tiny policy: supervised learning of expert trajectories, until RL has something to improve.

The loss is on the model's own tokens only. Three things make it work in minutes: the auxiliary losses (auxiliary.py);
looking before answering: where the data marks regions, nearly all trajectories end with their first turn at the
start. Such a trajectory has one picture and 50 tokens, so three are learnt from in the time of one whole one, and where
to look is the one thing that takes many; and one way before many: at the start each question comes with its shortest
trajectory only, and where there are questions with a single region, those alone, so that the picture decides where to
look.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from medeyes_verl.gaze.episode import EpisodeSettings
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.tiny.auxiliary import TEXT_LAYER, AuxiliaryHeads
from medeyes_verl.tiny.batches import Batch, BatchMaker, Habits, made_ahead
from medeyes_verl.tiny.examples import ExpertRow
from medeyes_verl.tiny.image_tokens import final_hidden_states, silence_picture_tokens
from medeyes_verl.tiny.vision import encode_pictures


@dataclass(frozen=True, slots=True)
class WarmupSettings:
    """How to warm up. It ends at `minutes` or `max_steps`, whichever comes first; schedules run on the same clock."""

    minutes: float = 2.5
    max_steps: int = 100_000
    """Let this be what ends it where the result must not depend on the machine's speed."""
    seed: int = 0
    wrong_answers: bool = False
    """Whether trajectories that end in a wrong answer are learnt too: for a policy that is meant to be weak."""
    going_on: float = 1.0
    """Weight in the loss of the words with which one looks again: little of it makes a policy that knows where one
    looks next, and is not in the habit of it."""
    gives_up: float = 0.0
    """Share of the trajectories in place of which the policy learns to answer `unknown` without a gaze. With little
    `gazing` that is its habit."""
    gazing: float = 1.0
    """Weight in the loss of the words with which one starts to gaze, as `going_on`."""
    batch_size: int = 16
    learning_rate: float = 1.5e-3
    rise_steps: int = 50
    """Steps over which the learning rate rises."""
    hold_share: float = 0.5
    """Share of the warm-up after which the learning rate falls, as a cosine."""
    weight_decay: float = 0.05
    clip: float = 1.0
    """Norm at which the gradient is cut."""
    auxiliary_share: float = 0.8
    """Share of the warm-up with auxiliary losses."""
    early_share: float = 0.4
    """Share of the warm-up that counts as its start."""
    early_cut: float = 0.95
    """Share of the trajectories that end with their first turn, at the start; without marked regions none do."""
    late_cut: float = 0.15
    """The same, afterwards."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a warm-up is."""

    steps: int = 0
    share: float = 0.0
    """Of the whole, 0..1."""
    loss: float = 0.0
    """Nats a token of the model's own, running mean."""
    auxiliary: float = 0.0
    """Sum of the auxiliary losses, running mean."""


def warm_up(
    model: Any,
    tokens: PolicyTokens,
    rows: Sequence[ExpertRow],
    episode: EpisodeSettings,
    settings: WarmupSettings,
    report: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Train `model` in place; `report` is called after every step. Returns where it ended."""
    torch.manual_seed(settings.seed)
    habits = Habits(settings.gives_up, settings.gazing, settings.going_on)
    maker = BatchMaker(rows, episode, tokens, settings.batch_size, settings.seed, habits)
    heads = AuxiliaryHeads(model.config.text_config.hidden_size, len(maker.labels))
    optimizer = _optimizer(model, heads, settings)
    progress = Progress()

    def next_job() -> Callable[[], list[Batch]]:
        early = progress.share < settings.early_share
        cut = settings.early_cut if early else settings.late_cut
        return partial(maker.make, cut if maker.labels else 0.0, plain=early)

    start = time.monotonic()
    model.train()
    for batch in made_ahead(next_job):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _rate(progress, settings)
        text_loss, auxiliary_loss = losses(model, heads, batch)
        total = text_loss + auxiliary_loss if progress.share < settings.auxiliary_share else text_loss
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        elapsed = (time.monotonic() - start) / 60 / settings.minutes
        keep = min(0.98, progress.steps / (progress.steps + 1))
        progress = Progress(
            steps=progress.steps + 1,
            share=min(1.0, max(elapsed, (progress.steps + 1) / settings.max_steps)),
            loss=keep * progress.loss + (1 - keep) * text_loss.item(),
            auxiliary=keep * progress.auxiliary + (1 - keep) * auxiliary_loss.item(),
        )
        report(progress)
        if progress.share == 1:
            break
    model.eval()
    passes = (losses(model, heads, batch) for batch in maker.make(settings.late_cut))
    silence_picture_tokens(model, final_hidden_states(model, passes))
    return progress


def losses(model: Any, heads: AuxiliaryHeads, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the model's own tokens, and the auxiliary losses (0 where the data marks no regions)."""
    inner = model.model
    features_NH = torch.cat(encode_pictures(inner.visual, batch.pictures))
    pictured_BT = batch.ids_BT == model.config.image_token_id
    embedded_BTH = inner.language_model.embed_tokens(batch.ids_BT)
    embedded_BTH = embedded_BTH.masked_scatter(pictured_BT.unsqueeze(-1), features_NH)
    size = inner.visual.patch_size
    grids = torch.tensor([[1, p.shape[0] // size, p.shape[1] // size] for p in batch.pictures])
    positions_3BT, _ = inner.get_rope_index(
        batch.ids_BT, pictured_BT.int(), image_grid_thw=grids, attention_mask=batch.attention_BT
    )
    out = inner.language_model(
        inputs_embeds=embedded_BTH, position_ids=positions_3BT, use_cache=False, output_hidden_states=True
    )
    # Padding is on the right, where no earlier token looks: causal attention needs no mask.
    predicts_BT = batch.weights_BT[:, 1:] > 0
    logits = model.lm_head(out.last_hidden_state[:, :-1][predicts_BT])
    each = cross_entropy(logits, batch.ids_BT[:, 1:][predicts_BT], reduction="none")
    weights = batch.weights_BT[:, 1:][predicts_BT]
    text_loss = (weights * each).sum() / weights.sum()
    if batch.targets is None:
        return text_loss, torch.zeros(())
    text_NH = out.hidden_states[TEXT_LAYER][pictured_BT]
    return text_loss, heads(features_NH[batch.marked_N], text_NH[batch.marked_N], batch.targets)


def _optimizer(model: nn.Module, heads: nn.Module, settings: WarmupSettings) -> torch.optim.Optimizer:
    matrices = [weight for weight in model.parameters() if weight.ndim >= 2]
    others = [weight for weight in model.parameters() if weight.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": [*others, *heads.parameters()], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))


def _rate(progress: Progress, settings: WarmupSettings) -> float:
    """The learning rate's factor: rise, hold, then a cosine to a fiftieth."""
    rise = min(1.0, (progress.steps + 1) / settings.rise_steps)
    fallen = max(0.0, progress.share - settings.hold_share) / (1 - settings.hold_share)
    return rise * max(0.02, 0.5 * (1 + math.cos(math.pi * fallen)))
