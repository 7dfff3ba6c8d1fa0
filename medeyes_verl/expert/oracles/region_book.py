"""Regions that somebody drew, found by the picture's content or by the question's id.

Prepared rows refer to pictures by a name made of their content, so the annotation of `imgs/xmlab12` or of
`case7.png` is found again by the same digest, wherever the picture came from.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from medeyes_verl.expert.oracles.annotations import Annotated
from medeyes_verl.expert.question import Question
from medeyes_verl.gaze.geometry import Box, Size

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A box somebody drew on a picture, in its pixels, as the file says it."""

    box: Box
    label: str
    target: bool = False


@dataclass(slots=True)
class RegionBook:
    """Drawn boxes, and what of their files could not be taken. Picklable; calling it gives a question's regions."""

    by_picture: dict[str, list[Drawn]] = field(default_factory=dict)
    """Boxes by the digest of the picture file."""
    by_question: dict[str, list[Drawn]] = field(default_factory=dict)
    """Boxes by expert_id; they come before those of the picture."""
    rejected: list[str] = field(default_factory=list)
    """One line for each box or picture that could not be taken: where, and why."""

    def drawn(self, question: Question) -> list[tuple[int, Drawn]]:
        """(picture from 1, box) for all boxes of a question that lie inside its pictures."""
        own = self.by_question.get(question.expert_id)
        pages = [(1, own)] if own is not None else self._pages(question)
        found = []
        for image, boxes in pages:
            size = question.image_sizes[image - 1]
            clipped = ((image, Drawn(each.box.clipped(size), each.label, each.target)) for each in boxes)
            found += [(at, each) for at, each in clipped if each.box.width >= 1 and each.box.height >= 1]
        return found

    def _pages(self, question: Question) -> list[tuple[int, list[Drawn]]]:
        digests = (digest_of_picture(path) for path in question.image_paths)
        return [(image, self.by_picture.get(digest, [])) for image, digest in enumerate(digests, 1)]

    def __call__(self, question: Question) -> Sequence[Annotated]:
        return [Annotated(each.box, each.label, each.target, image) for image, each in self.drawn(question)]

    def add(self, boxes: list[Drawn], drawn: Drawn, where: str, size: Size | None = None) -> None:
        """Add a box to `boxes`, or say at `where` why not (`size`: of the picture, where it is known)."""
        fault = fault_of(drawn.box, size)
        if fault:
            self.rejected.append(f"{where}: {fault}")
        else:
            boxes.append(drawn)


def fault_of(box: Box, size: Size | None) -> str | None:
    """Why a drawn box cannot be taken; None when it can."""
    if not all(math.isfinite(side) for side in box.as_list()):
        return f"box {box.as_list()} is not finite"
    if box.width <= 0 or box.height <= 0:
        return f"box {box.as_list()} is empty or inverted"
    if size is not None and box.clipped(size).area == 0:
        return f"box {box.as_list()} lies outside its picture of {size.width}×{size.height}"
    return None


@lru_cache(maxsize=65_536)
def digest_of_picture(path: str) -> str:
    """The content digest of a picture: its name in a picture store, else computed. Raises ValueError if it is gone."""
    stem = Path(path).stem
    if _DIGEST.fullmatch(stem):
        return stem
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"{path}: the picture cannot be read ({error.strerror})") from error
