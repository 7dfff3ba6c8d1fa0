"""Makes it impossible for the tiny policy to write a picture's placeholder.

veRL forbids these tokens in vLLM but not in the trainer, so whatever probability a policy gives them is a
difference between the two that looks like weights out of sync. A large model gives them none; one of a million
parameters, trained for two minutes, up to a thousandth. There is no bias to lower, so their rows of the output
matrix are pointed away from where all hidden states point.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

MARGIN = 40.0
"""About the logit below zero that the tokens get: a probability of 1e-17, and room for the hidden states to drift."""
RIDGE = 1e-3
"""Keeps the direction short where the hidden states do not determine it; relative to their size."""


def silence_picture_tokens(model: Any, hidden_NH: Tensor) -> None:
    """Point the rows of the image and the video placeholder away from all of the given final hidden states."""
    direction_H = common_direction(hidden_NH)
    with torch.no_grad():
        for token in (model.config.image_token_id, model.config.video_token_id):
            model.lm_head.weight[token] = -MARGIN * direction_H


def common_direction(hidden_NH: Tensor) -> Tensor:
    """The direction whose product with every hidden state is as near to 1 as can be (ridge regression), (H,)."""
    gram_HH = hidden_NH.T @ hidden_NH
    size = gram_HH.diagonal().mean()
    ridge_HH = RIDGE * size * torch.eye(len(gram_HH))
    return torch.linalg.solve(gram_HH + ridge_HH, hidden_NH.sum(dim=0))


def final_hidden_states(model: Any, forwards: Iterable[object]) -> Tensor:
    """What the output matrix is given while `forwards`, a lazy run of forward passes, is consumed, (N, H)."""
    seen: list[Tensor] = []
    hook = model.lm_head.register_forward_hook(lambda _, given, __: seen.append(given[0].detach()))
    try:
        with torch.no_grad():
            for _ in forwards:
                pass
    finally:
        hook.remove()
    return torch.cat([hidden.reshape(-1, hidden.shape[-1]) for hidden in seen])
