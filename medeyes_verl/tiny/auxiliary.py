"""Auxiliary losses of the warm-up, on heads that are thrown away afterwards.

Where to look is the bottleneck for so small a model: from the text loss alone it learns to write boxes long before it
learns where the lesions are. Two losses show it, from the regions that the data marks:

- on each merged visual token: how much of its four patches any region covers and, on crops, the label of the target
  if the token lies on it;
- after the second text layer, at the view's tokens: the token's own row and column, and the coverage again, so that
  place reaches the layers that write coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, rms_norm

from medeyes_verl.data.row import Region
from medeyes_verl.gaze.geometry import Box

TEXT_LAYER: Final = 2
"""The text layer after which the second loss is taken."""
MAX_TOKENS_A_SIDE: Final = 16
"""Rows and columns are told apart up to this many; a tiny policy's view is far smaller."""
ON_TARGET: Final = 0.35
"""Coverage by the target from which a crop's token counts as showing it."""
PATCHES: Final = 4
"""Patches merged into one visual token, two by two."""
NO_LABEL: Final = -100


@dataclass(frozen=True, slots=True)
class TokenTargets:
    """What the heads are to say, for N merged visual tokens."""

    coverage_N4: Tensor
    label_N: Tensor
    """Number of the target's label on a crop's token that shows it, else NO_LABEL."""
    place_N2: Tensor
    """Row and column within the picture."""
    view_N: Tensor
    """Whether the token is of a view."""

    @classmethod
    def joined(cls, parts: Sequence[TokenTargets]) -> TokenTargets:
        return cls(
            torch.cat([part.coverage_N4 for part in parts]),
            torch.cat([part.label_N for part in parts]),
            torch.cat([part.place_N2 for part in parts]),
            torch.cat([part.view_N for part in parts]),
        )


def token_targets(
    regions: Sequence[Region], labels: Mapping[str, int], part: Box, grid: tuple[int, int], is_view: bool
) -> TokenTargets:
    """Targets for one picture: `part` is what it shows, in pixels of the original; `grid` its (rows, columns)."""
    covered = patch_coverage([region.box for region in regions], part, grid)
    label = np.full(len(covered), NO_LABEL)
    for region in regions:
        if region.target and not is_view:
            label[patch_coverage([region.box], part, grid).mean(1) > ON_TARGET] = labels[region.label]
    place = np.stack(np.divmod(np.arange(len(covered)), grid[1]), 1)
    return TokenTargets(
        torch.from_numpy(covered),
        torch.from_numpy(label),
        torch.from_numpy(place),
        torch.full((len(covered),), is_view),
    )


def patch_coverage(boxes: Sequence[Box], part: Box, grid: tuple[int, int]) -> NDArray[np.float32]:
    """Share of each patch, (tokens, 4), that lies in the ellipse inside any of `boxes`; sampled at 16 points a patch.

    An ellipse, because what a box is drawn around seldom reaches its corners.
    """
    rows, columns = (8 * tokens for tokens in grid)
    y = part.y1 + (np.arange(rows, dtype=np.float32) + 0.5) * part.height / rows
    x = part.x1 + (np.arange(columns, dtype=np.float32) + 0.5) * part.width / columns
    inside = np.zeros((rows, columns), bool)
    for box in boxes:
        across = (2 * x - box.x1 - box.x2) / box.width
        down = (2 * y - box.y1 - box.y2) / box.height
        inside |= across[None, :] ** 2 + down[:, None] ** 2 < 1
    patches = inside.reshape(grid[0], 2, 4, grid[1], 2, 4).mean((2, 5), dtype=np.float32)
    return patches.swapaxes(1, 2).reshape(-1, PATCHES)


class AuxiliaryHeads(nn.Module):
    """Linear heads over visual features and over a text layer, both `hidden` wide."""

    def __init__(self, hidden: int, labels: int) -> None:
        super().__init__()
        self._on_picture = nn.Linear(hidden, PATCHES + labels)
        self._on_text = nn.Linear(hidden, PATCHES + 2 * MAX_TOKENS_A_SIDE)

    def forward(self, features_NH: Tensor, text_NH: Tensor, targets: TokenTargets) -> Tensor:
        """The sum of the losses, a scalar; `text_NH` is the text layer at the same tokens as `features_NH`."""
        cover, label = self._on_picture(features_NH).tensor_split([PATCHES], dim=1)
        loss = binary_cross_entropy_with_logits(cover, targets.coverage_N4)
        if (targets.label_N != NO_LABEL).any():
            loss = loss + cross_entropy(label, targets.label_N, ignore_index=NO_LABEL)
        at_view = targets.view_N
        read = self._on_text(rms_norm(text_NH[at_view], text_NH.shape[-1:]))
        cover, row, column = read.tensor_split([PATCHES, PATCHES + MAX_TOKENS_A_SIDE], dim=1)
        place = targets.place_N2[at_view]
        loss = loss + binary_cross_entropy_with_logits(cover, targets.coverage_N4[at_view])
        return loss + cross_entropy(row, place[:, 0]) + cross_entropy(column, place[:, 1])
