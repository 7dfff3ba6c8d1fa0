"""r_div: how much of the picture the gazes explored.

The paper rewards the number of unique regions and the share of region pairs with an IoU below 0.5. Decided here: it is
bounded in [0, 1], since unbounded counting pays for gazing without end, and a region is unique when it overlaps no
earlier unique one by an IoU of 0.5 or more, since otherwise shifting a box by a pixel would pay.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from medeyes_verl.gaze.geometry import Box

SAME_REGION_IOU = 0.5
"""From this overlap on two boxes are the same region (the paper's threshold)."""
ENOUGH_REGIONS = 3
"""More unique regions earn nothing; the paper's best trajectories have three steps."""


def r_div(boxes: Sequence[Box], images: Sequence[int] | None = None) -> float:
    """½ · min(unique, 3)/3 + ½ · (share of pairs with IoU < 0.5; 0 for fewer than two boxes); 0 without a box.

    `boxes` are the valid gazes in pixels of the original, `images` the picture of each (None: all on one); boxes on
    different pictures never overlap.
    """
    gazes = list(zip(boxes, images if images is not None else [1] * len(boxes), strict=True))
    unique: list[tuple[Box, int]] = []
    for gaze in gazes:
        if all(_differ(gaze, other) for other in unique):
            unique.append(gaze)
    pairs = [_differ(first, second) for first, second in combinations(gazes, 2)]
    spread = sum(pairs) / len(pairs) if pairs else 0.0
    return 0.5 * min(len(unique), ENOUGH_REGIONS) / ENOUGH_REGIONS + 0.5 * spread


def _differ(first: tuple[Box, int], second: tuple[Box, int]) -> bool:
    return first[1] != second[1] or first[0].iou(second[0]) < SAME_REGION_IOU
