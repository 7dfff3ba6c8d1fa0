"""Targets of the auxiliary losses, worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from medeyes_verl.data.row import Region
from medeyes_verl.gaze.geometry import Box
from medeyes_verl.tiny.auxiliary import NO_LABEL, AuxiliaryHeads, TokenTargets, patch_coverage, token_targets

VIEW = Box(0, 0, 448, 448)
LABELS = {"bar": 0, "ring": 1}


def test_coverage_adds_up_to_the_ellipse_and_lies_where_it_is() -> None:
    # An ellipse of 224 × 112 in the lower right; a token of a 4 × 4 view is 112 px, its patches 56 px.
    covered = patch_coverage([Box(224, 336, 448, 448)], VIEW, (4, 4))
    assert covered.shape == (16, 4)
    assert covered.sum() * 56 * 56 == pytest.approx(math.pi * 112 * 56, rel=0.05)
    assert set(covered.sum(1).nonzero()[0]) == {14, 15}
    # Token 14 is the ellipse's left half: its right patches (second and fourth) are covered most.
    upper_left, upper_right, lower_left, lower_right = covered[14]
    assert upper_right > upper_left
    assert lower_right > lower_left
    assert upper_left == lower_left


def test_two_regions_do_not_count_twice() -> None:
    box = Box(0, 0, 448, 448)
    assert (patch_coverage([box, box], VIEW, (4, 4)) == patch_coverage([box], VIEW, (4, 4))).all()


def test_a_label_is_asked_of_crop_tokens_on_the_target_only() -> None:
    regions = [Region(Box(0, 0, 112, 112), "ring", True), Region(Box(336, 336, 448, 448), "decoy", False)]
    view = token_targets(regions, LABELS, VIEW, (4, 4), is_view=True)
    assert (view.label_N == NO_LABEL).all()
    assert view.coverage_N4.mean(1).nonzero().flatten().tolist() == [0, 15]
    assert view.place_N2[6].tolist() == [1, 2]
    on_target = token_targets(regions, LABELS, Box(0, 0, 224, 112), (2, 4), is_view=False)
    assert on_target.label_N.tolist() == [1, 1, NO_LABEL, NO_LABEL] * 2
    on_decoy = token_targets(regions, LABELS, Box(336, 336, 448, 448), (4, 4), is_view=False)
    assert (on_decoy.label_N == NO_LABEL).all()
    assert on_decoy.coverage_N4.sum() > 0


def test_the_heads_can_be_satisfied_and_reach_both_inputs() -> None:
    torch.manual_seed(0)
    regions = [Region(Box(112, 112, 224, 224), "bar", True)]
    targets = TokenTargets.joined(
        [
            token_targets(regions, LABELS, VIEW, (4, 4), is_view=True),
            token_targets(regions, LABELS, Box(112, 112, 224, 224), (4, 4), is_view=False),
        ]
    )
    features = torch.randn(32, 128, requires_grad=True)
    text = torch.randn(32, 128, requires_grad=True)
    heads = AuxiliaryHeads(128, len(LABELS))
    optimizer = torch.optim.Adam(heads.parameters(), lr=0.05)
    start = heads(features, text, targets)
    start.backward()
    assert features.grad is not None
    assert features.grad.abs().sum() > 0
    assert text.grad is not None
    # The second loss looks at the view's tokens only.
    assert text.grad[:16].abs().sum() > 0
    assert text.grad[16:].abs().sum() == 0
    for _ in range(60):
        optimizer.zero_grad()
        loss = heads(features.detach(), text.detach(), targets)
        loss.backward()
        optimizer.step()
    assert loss < 0.2 * start
