"""Pictures through the vision tower in one batch: the same mathematics as transformers', many times faster.

transformers runs attention picture by picture in a Python loop, which for a batch of forty tiny pictures is most of a
training step. Here pictures of equal size go through together. Only towers with full attention in every layer are
meant; that and the equality with transformers' own result are tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention

from medeyes_verl.tiny.model import IMAGE_MEAN, IMAGE_STD

Picture = NDArray[np.uint8]
"""RGB, (height, width, 3)."""


def encode_pictures(tower: Any, pictures: Sequence[Picture]) -> list[Tensor]:
    """Merged visual tokens of each picture, (height · width / 28², text width), in reading order."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for index, picture in enumerate(pictures):
        by_size.setdefault(picture.shape, []).append(index)
    features: dict[int, Tensor] = {}
    for indices in by_size.values():
        batch_NHWC = torch.from_numpy(np.stack([pictures[index] for index in indices]))
        features.update(zip(indices, _encode_equal(tower, batch_NHWC), strict=True))
    return [features[index] for index in range(len(pictures))]


def _encode_equal(tower: Any, batch_NHWC: Tensor) -> Tensor:
    size, merge = tower.patch_size, tower.spatial_merge_size
    N, height, width, _ = batch_NHWC.shape
    rows, columns = height // size, width // size
    patches_NPD = _patches(batch_NHWC, size, merge)
    # A still picture is repeated along the kernel's time axis, so the kernel's slices add up.
    kernel_HD = tower.patch_embed.proj.weight.sum(2).flatten(1)
    hidden_NPH = linear(patches_NPD, kernel_HD)
    cos, sin = _rotation(tower, rows, columns, merge)
    for block in tower.blocks:
        attention = block.attn
        qkv = attention.qkv(block.norm1(hidden_NPH)).unflatten(-1, (3, attention.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(_rotate(query, cos, sin), _rotate(key, cos, sin), value)
        hidden_NPH = hidden_NPH + attention.proj(mixed.transpose(1, 2).flatten(2))
        hidden_NPH = hidden_NPH + block.mlp(block.norm2(hidden_NPH))
    return tower.merger(hidden_NPH.flatten(0, 1)).unflatten(0, (N, -1))


def _patches(batch_NHWC: Tensor, size: int, merge: int) -> Tensor:
    """Normalised patches, (N, patches, 3 · size²), the patches of one merged token beside each other."""
    pixels = batch_NHWC.float().div(255).sub(IMAGE_MEAN).div(IMAGE_STD)
    N, height, width, _ = pixels.shape
    tile = size * merge
    blocks = pixels.reshape(N, height // tile, merge, size, width // tile, merge, size, 3)
    return blocks.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(N, -1, 3 * size * size)


def _rotation(tower: Any, rows: int, columns: int, merge: int) -> tuple[Tensor, Tensor]:
    """cos and sin of each patch's rotary angles: its row for one half of a head, its column for the other."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    places = torch.stack([row, column], -1).reshape(rows // merge, merge, columns // merge, merge, 2)
    places_P2 = places.transpose(1, 2).reshape(-1, 2)
    angles = (places_P2.unsqueeze(-1) * tower.rotary_pos_emb.inv_freq).flatten(1).repeat(1, 2)
    return angles.cos(), angles.sin()


def _rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = heads.chunk(2, -1)
    return heads * cos + torch.cat([-second, first], -1) * sin
