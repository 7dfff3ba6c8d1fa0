"""Connected components of a mask: one mask that covers several findings becomes several regions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


@dataclass(frozen=True, slots=True)
class Component:
    """One connected set of pixels, cut to its bounding box.

    Attributes:
        window: rows and columns of the bounding box in the mask.
        inside_hw: which pixels of the window belong to the component.
        pixels: how many do.
    """

    window: tuple[slice, slice]
    inside_hw: NDArray[np.bool_]
    pixels: int


def components_of(mask_HW: NDArray[np.bool_], min_pixels: int) -> list[Component]:
    """Find the 8-connected components of at least `min_pixels`, largest first, equal ones in reading order.

    A mask may come from an untrusted reply: there are at most H·W / `min_pixels` results, each as large as its
    bounding box, and smaller components, of which there may be millions, cost one pass over the mask.
    """
    labels_HW, count = ndimage.label(mask_HW, EIGHT_NEIGHBOURS)
    pixels_L = np.bincount(labels_HW.ravel(), minlength=count + 1)
    pixels_L[0] = 0  # the background
    kept = np.flatnonzero(pixels_L >= max(1, min_pixels))
    kept = kept[np.argsort(-pixels_L[kept], kind="stable")]
    rank_L = np.zeros(count + 1, np.int32)
    rank_L[kept] = np.arange(1, len(kept) + 1)
    ranks_HW = rank_L[labels_HW]
    return [
        Component(window, ranks_HW[window] == rank, int(pixels_L[label]))
        for rank, (label, window) in enumerate(zip(kept, ndimage.find_objects(ranks_HW), strict=True), 1)
    ]
