"""The warm-up: its loss is the model's own, it is reproducible, and it learns."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from medeyes_verl.tiny.auxiliary import AuxiliaryHeads
from medeyes_verl.tiny.batches import POOL, Batch, BatchMaker, Habits, made_ahead
from medeyes_verl.tiny.examples import ExpertRow
from medeyes_verl.tiny.model import TINY_EPISODE, TinyShape, build_model
from medeyes_verl.tiny.warmup import Progress, WarmupSettings, losses, warm_up

ALL_SHOWN = Habits()
SMALL = TinyShape(layers=2, feed_forward=64, vision_layers=1, vision_feed_forward=64)


def make_batches(
    fresh: Any, rows: tuple[ExpertRow, ...], seed: int = 0, cut_share: float = 0.0, habits: Habits = ALL_SHOWN
) -> list[Batch]:
    return BatchMaker(rows, TINY_EPISODE, fresh.tokens, batch_size=3, seed=seed, habits=habits).make(cut_share)


def official_loss(fresh: Any, batch: Batch, learnt_BT: torch.Tensor) -> float:
    """The mean over the tokens of `learnt_BT`, by the model class's own forward pass."""
    given = fresh.processor.image_processor(list(batch.pictures), return_tensors="pt")
    with torch.no_grad():
        loss = fresh.model(
            input_ids=batch.ids_BT,
            attention_mask=batch.attention_BT,
            mm_token_type_ids=(batch.ids_BT == fresh.model.config.image_token_id).int(),
            labels=batch.ids_BT.masked_fill(~learnt_BT, -100),
            **given,
        ).loss
    return float(loss)


def without_regions(rows: tuple[ExpertRow, ...]) -> tuple[ExpertRow, ...]:
    return tuple(replace(row, question=replace(row.question, regions=())) for row in rows)


def test_the_loss_is_that_of_the_official_forward_pass(fresh, expert_rows) -> None:  # type: ignore[no-untyped-def]
    fresh.model.eval()
    for batch in make_batches(fresh, expert_rows.rows):
        with torch.no_grad():
            ours, _ = losses(fresh.model, AuxiliaryHeads(128, 4), batch)
        assert ours.item() == pytest.approx(official_loss(fresh, batch, batch.weights_BT > 0), abs=1e-4)


@pytest.mark.parametrize("habits", [Habits(going_on=0.25), Habits(gazing=0.25, gives_up=0.5)])
def test_the_words_for_gazing_weigh_what_they_are_told(fresh, expert_rows, habits: Habits) -> None:  # type: ignore[no-untyped-def]
    fresh.model.eval()
    little = 0.25
    of_both = [batch for batch in make_batches(fresh, expert_rows.rows, habits=habits) if little in batch.weights_BT]
    assert of_both
    for batch in of_both:
        with torch.no_grad():
            ours, _ = losses(fresh.model, AuxiliaryHeads(128, 4), batch)
        parts = {weight: batch.weights_BT == weight for weight in (1.0, little)}
        total = sum(weight * int(part.sum()) * official_loss(fresh, batch, part) for weight, part in parts.items())
        expected = total / sum(weight * int(part.sum()) for weight, part in parts.items())
        assert ours.item() == pytest.approx(expected, abs=1e-4)


def test_a_share_of_the_trajectories_gives_up_without_a_gaze(fresh, expert_rows) -> None:  # type: ignore[no-untyped-def]
    rows = [row for row in expert_rows.rows if all(trajectory.steps for trajectory in row.trajectories)] * 20
    assert rows
    for cut_share in (0.0, 0.5):
        maker = BatchMaker(rows, TINY_EPISODE, fresh.tokens, 16, seed=3, habits=Habits(gives_up=0.3))
        batches = [batch for _ in range(4) for batch in maker.make(cut_share)]
        texts = [
            fresh.processor.tokenizer.decode(ids[weights > 0])
            for batch in batches
            for ids, weights in zip(batch.ids_BT, batch.weights_BT, strict=True)
        ]
        given_up = [text for text in texts if "<action>" not in text]
        # of 256 trajectories 77 are expected; 4 standard deviations are 29
        assert 48 < len(given_up) < 106
        assert set(given_up) == {"<reasoning>done</reasoning>\n<answer>unknown</answer>"}


def test_batches_are_reproducible_and_of_like_length(fresh, expert_rows) -> None:  # type: ignore[no-untyped-def]
    pool, again = (make_batches(fresh, expert_rows.rows, seed=5, cut_share=0.5) for _ in range(2))
    assert len(pool) == POOL
    for batch, same in zip(pool, again, strict=True):
        assert torch.equal(batch.ids_BT, same.ids_BT)
        assert torch.equal(batch.weights_BT, same.weights_BT)
        assert not batch.weights_BT[batch.attention_BT == 0].any()
        assert batch.targets is not None
        assert len(batch.targets.label_N) == int(batch.marked_N.sum()) == 16 * len(batch.pictures)
    lengths = [sorted(batch.attention_BT.sum(1).tolist()) for batch in pool]
    by_shortest = sorted(lengths)
    assert all(before[-1] <= after[0] for before, after in itertools.pairwise(by_shortest))


def test_without_regions_there_are_no_auxiliary_losses(fresh, expert_rows) -> None:  # type: ignore[no-untyped-def]
    batch = make_batches(fresh, without_regions(expert_rows.rows))[0]
    assert batch.targets is None
    assert not batch.marked_N.any()
    assert losses(fresh.model, AuxiliaryHeads(128, 0), batch)[1].item() == 0


def test_pools_are_made_ahead_in_order(fresh, expert_rows) -> None:  # type: ignore[no-untyped-def]
    made: list[int] = []

    def next_job() -> Callable[[], list[Any]]:
        made.append(len(made))
        number = made[-1]
        return lambda: [number]

    stream = made_ahead(next_job)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    assert made == [0, 1, 2, 3]
    stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("marked", [True, False])
def test_a_warm_up_learns_and_depends_on_the_seed_alone(fresh, expert_rows, marked: bool) -> None:  # type: ignore[no-untyped-def]
    rows = expert_rows.rows if marked else without_regions(expert_rows.rows)
    settings = WarmupSettings(minutes=60, max_steps=14, batch_size=4, rise_steps=3, seed=3)
    seen: list[Progress] = []

    def train() -> tuple[Progress, dict[str, torch.Tensor]]:
        model = build_model(fresh.processor.tokenizer, SMALL, seed=2)
        return warm_up(model, fresh.tokens, rows, TINY_EPISODE, settings, seen.append), model.state_dict()

    end, weights = train()
    end_again, weights_again = train()
    assert end.steps == 14
    assert end.share == 1
    assert end == end_again
    assert all(torch.equal(weights[name], weights_again[name]) for name in weights)
    assert seen[13].loss < 0.8 * seen[0].loss
    assert (end.auxiliary > 0) == marked


def test_the_clock_ends_a_warm_up(fresh, expert_rows) -> None:  # type: ignore[no-untyped-def]
    settings = WarmupSettings(minutes=1e-6, batch_size=2)
    model = build_model(fresh.processor.tokenizer, SMALL, seed=2)
    assert warm_up(model, fresh.tokens, expert_rows.rows, TINY_EPISODE, settings).steps == 1
