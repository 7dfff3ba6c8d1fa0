"""Connected components of a mask: one mask that covers several findings becomes several regions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def components_of(mask_HW: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The 8-connected components, largest first, each as a mask of the same shape.

    Labels spread from each pixel to its neighbours until nothing changes, the way along rows and columns being
    taken in one stride; a few passes for shapes that occur in practice, and as many as pixels at worst.
    """
    labels_HW = np.where(mask_HW, np.arange(1, mask_HW.size + 1).reshape(mask_HW.shape), 0)
    while True:
        spread_HW = _spread(labels_HW, mask_HW)
        if np.array_equal(spread_HW, labels_HW):
            break
        labels_HW = spread_HW
    numbers, counts = np.unique(labels_HW[mask_HW], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [labels_HW == numbers[each] for each in order]


def _spread(labels_HW: NDArray[np.int64], mask_HW: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Each pixel takes the highest label of its run in its row and in its column, then of its neighbours."""
    for axis in (0, 1):
        labels_HW = _highest_of_runs(labels_HW, mask_HW, axis)
    padded = np.pad(labels_HW, 1)
    height, width = labels_HW.shape
    shifts = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.where(mask_HW, np.maximum.reduce(shifts), 0)


def _highest_of_runs(labels_HW: NDArray[np.int64], mask_HW: NDArray[np.bool_], axis: int) -> NDArray[np.int64]:
    labels = labels_HW if axis else labels_HW.T
    mask = mask_HW if axis else mask_HW.T
    # A run starts where the mask does, and at each line's beginning; background is a run of its own.
    starts = np.ones(mask.shape, bool)
    starts[:, 1:] = mask[:, 1:] != mask[:, :-1]
    where = np.flatnonzero(starts.ravel())
    highest = np.maximum.reduceat(labels.ravel(), where)
    lengths = np.diff(np.append(where, mask.size))
    spread = np.repeat(highest, lengths).reshape(mask.shape)
    return spread if axis else spread.T
