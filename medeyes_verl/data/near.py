"""Near-copies of pictures across splits: the same picture saved anew, resized, or with another brightness.

A difference hash of 256 bits: the picture in grey, shrunk to 17 × 16, and for each pair of neighbours
whether it grows clearly brighter to the right. On VQA-RAD's radiographs 95% of the copies (half the size,
JPEG quality 50, PNG, a fifth brighter) differ in at most 10 bits, and no two different pictures in fewer
than 23.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from medeyes_verl.data.audit import SPLITS, IndexedRow, pictures_of
from medeyes_verl.data.image_store import picture_path
from medeyes_verl.distribution.engine import Engine

HASH_SIDE = 16
MAX_BITS = 12
"""Pictures that differ in no more bits count as near-copies."""
_CLEARLY = 4
"""Grey levels; smaller steps, as in a black background, are noise of the encoder."""
_DRAFT_SIDE = 256
"""A JPEG may be decoded at a fraction of its size as long as its sides stay this long."""
_WORDS = HASH_SIDE * HASH_SIDE // 64
_PAIRS_AT_ONCE = 2**24
_PICTURES_A_TASK = 128


class NearCopy(NamedTuple):
    """A picture of an earlier split that looks like one of a later split; `bits` of 256 differ."""

    earlier: str
    later: str
    bits: int


def difference_hash(path: str) -> npt.NDArray[np.uint64]:
    """The 256 bits of a picture of the store as four words."""
    with Image.open(path) as picture:
        picture.draft("L", (_DRAFT_SIDE, _DRAFT_SIDE))
        grey = picture.convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX)
    values = np.asarray(grey, dtype=np.int16)
    return np.packbits(values[:, 1:] > values[:, :-1] + _CLEARLY).view(np.uint64)


def difference_hashes(paths: Sequence[str]) -> list[tuple[str, npt.NDArray[np.uint64]]]:
    """The hashes of some pictures, with their paths: the work of one process."""
    return [(path, difference_hash(path)) for path in paths]


def near_copies(
    earlier: dict[str, npt.NDArray[np.uint64]], later: dict[str, npt.NDArray[np.uint64]], max_bits: int = MAX_BITS
) -> list[NearCopy]:
    """All pairs of different pictures that differ in at most `max_bits`; the arguments map names to hashes."""
    if not earlier or not later:
        return []
    names_e, hashes_EW = list(earlier), np.stack(list(earlier.values()))
    names_l, hashes_LW = list(later), np.stack(list(later.values()))
    found = []
    step = max(1, _PAIRS_AT_ONCE // len(names_l))
    for start in range(0, len(names_e), step):
        block_BW = hashes_EW[start : start + step]
        # The first word alone rules out nearly every pair; the others are compared only where it does not.
        first_BL = np.bitwise_count(block_BW[:, None, 0] ^ hashes_LW[None, :, 0])
        rows, columns = np.nonzero(first_BL <= max_bits)
        bits = np.bitwise_count(block_BW[rows] ^ hashes_LW[columns]).sum(axis=1)
        found += [
            NearCopy(names_e[start + row], names_l[column], int(bit))
            for row, column, bit in zip(rows, columns, bits, strict=True)
            if bit <= max_bits and names_e[start + row] != names_l[column]
        ]
    return sorted(found, key=lambda copy: (copy.bits, copy.later, copy.earlier))


def find_near_copies(
    index: Sequence[IndexedRow], root: Path, engine: Engine, advance: Callable[[int], None]
) -> list[NearCopy]:
    """The near-copies between any two splits, among the pictures of the store at `root`."""
    pictures = {split: pictures_of(index, split) for split in SPLITS}
    if sum(map(bool, pictures.values())) < 2:
        return []
    paths = (str(picture_path(root, name)) for name in sorted(set().union(*pictures.values())))
    hashes = {}
    for done in engine(difference_hashes, iter(lambda: list(islice(paths, _PICTURES_A_TASK)), [])):
        hashes.update({Path(path).name: bits for path, bits in done})
        advance(len(done))
    return [
        copy
        for earlier, later in combinations(SPLITS, 2)
        for copy in near_copies(
            {name: hashes[name] for name in pictures[earlier]}, {name: hashes[name] for name in pictures[later]}
        )
    ]
