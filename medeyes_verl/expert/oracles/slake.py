"""SLAKE's own annotations as an oracle's regions: detection.json boxes, and mask.png where a class has no box.

    <root>/imgs/xmlabN/source.jpg, detection.json, mask.png     <root>/mask.txt (or <root>/imgs/mask.txt)

detection.json is a list of one-key objects {name: [x, y, w, h]} in pixels, names repeating. mask.png holds
class numbers that mask.txt names, one `number:name` a line. A box that names a disease is a candidate of
every scan, unnamed until it was looked at; the organ that the question names is one as well, named at once,
since one knows where to look for it. What the question or its answer names is the target. Left and right
stay as the picture shows them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medeyes_verl.expert.oracles.annotations import Annotated
from medeyes_verl.expert.oracles.region_book import Drawn, RegionBook
from medeyes_verl.expert.question import Question
from medeyes_verl.gaze.geometry import Box, Size

DISEASE_WORDS = (
    "atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax",
    "edema", "emphysema", "fibrosis", "thickening", "hernia", "consolidation", "cancer", "tumor", "tumour",
    "carcinoma", "metastasis", "lesion", "cyst", "hemorrhage", "infarct", "fracture", "calcification", "stone",
)  # fmt: skip
"""A name with one of these words is a finding; every other name is an organ."""
MAX_ANNOTATION_BYTES = 1 << 20


class SlakeBook(RegionBook):
    """The regions of SLAKE, with the roles they play for a question."""

    def __call__(self, question: Question) -> Sequence[Annotated]:
        drawn = self.drawn(question)
        asked = f"{question.text} {question.ground_truth}"
        named = [is_named(each.label, asked) for _, each in drawn]
        roles = [
            Annotated(each.box, each.label, target, image, named=not is_disease(each.label))
            for (image, each), target in zip(drawn, named, strict=True)
            if target or is_disease(each.label)
        ]
        # A question about nothing that is drawn (the modality, the plane): every box is worth a look.
        return roles or [Annotated(each.box, each.label, False, image, named=True) for image, each in drawn]


def read_slake(root: Path) -> SlakeBook:
    """All annotations under `root`. What cannot be read is in `rejected`, by file and entry; the rest is taken.

    Raises ValueError where `root` holds no SLAKE pictures at all.
    """
    folders = sorted(each.parent for each in (root / "imgs").glob("*/source.jpg"))
    if not folders:
        raise ValueError(f"{root}: no imgs/*/source.jpg here; give the folder that holds SLAKE's imgs/")
    book = SlakeBook()
    classes = _classes(root, book)
    for folder in folders:
        boxes: list[Drawn] = []
        try:
            with Image.open(folder / "source.jpg") as picture:
                size = Size(*picture.size)
            digest = hashlib.sha256((folder / "source.jpg").read_bytes()).hexdigest()
        except OSError as error:
            book.rejected.append(f"{folder / 'source.jpg'}: not usable as a picture ({error})")
            continue
        _read_detection(folder / "detection.json", size, boxes, book)
        _read_mask(folder / "mask.png", classes, size, boxes, book)
        book.by_picture[digest] = boxes
    return book


def is_disease(label: str) -> bool:
    """Whether an annotation's name is a finding, and not an organ."""
    return any(word in label.lower() for word in DISEASE_WORDS)


def is_named(label: str, text: str) -> bool:
    """Whether `text` speaks of the annotated thing, in the singular or the plural, as whole words.

    "Left Lung" is also spoken of as "lung", but not as "right lung".
    """
    side, _, bare = label.lower().partition(" ")
    sided = side in ("left", "right") and bare and not re.search(r"\b(left|right)\b", text.lower())
    name = bare if sided else label.lower()
    return re.search(rf"\b{re.escape(name)}(e?s)?\b", text.lower()) is not None


def _read_detection(file: Path, size: Size, boxes: list[Drawn], book: RegionBook) -> None:
    try:
        if file.stat().st_size > MAX_ANNOTATION_BYTES:
            raise ValueError("larger than any annotation")
        entries = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(entries, list):
            raise ValueError("not a list")
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        book.rejected.append(f"{file}: not readable ({error})")
        return
    for place, entry in enumerate(entries):
        where = f"{file} entry {place}"
        for name, sides in _pairs(entry):
            try:
                x, y, width, height = (float(side) for side in sides)
            except (TypeError, ValueError):
                book.rejected.append(f"{where}: {sides!r} is no [x, y, w, h]")
                continue
            if not name.strip():
                book.rejected.append(f"{where}: no name")
                continue
            book.add(boxes, Drawn(Box(x, y, x + width, y + height), name.strip()), where, size)


def _pairs(entry: Any) -> Iterator[tuple[str, Any]]:
    yield from entry.items() if isinstance(entry, dict) else [("", entry)]


def _read_mask(file: Path, classes: dict[int, str], size: Size, boxes: list[Drawn], book: RegionBook) -> None:
    """A box around every class of the mask that has none yet."""
    if not file.exists() or not classes:
        return
    try:
        with Image.open(file) as picture:
            # "P" and "L" hold the class numbers themselves; anything else has lost them.
            if picture.mode not in ("P", "L", "I", "I;16"):
                raise ValueError(f"mode {picture.mode} holds no class numbers")
            if picture.size != size:
                raise ValueError(f"{picture.size} is not the size of source.jpg")
            mask_HW: NDArray[np.integer] = np.asarray(picture)
    except (OSError, ValueError) as error:
        book.rejected.append(f"{file}: not readable as a mask ({error})")
        return
    known = {each.label.lower() for each in boxes}
    for number in (int(each) for each in np.unique(mask_HW)):
        name = classes.get(number)
        if number == 0 or (name is not None and name.lower() in known):
            continue
        if name is None:
            book.rejected.append(f"{file}: mask.txt does not name class {number}")
            continue
        rows, columns = np.nonzero(mask_HW == number)
        box = Box(int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
        boxes.append(Drawn(box, name))


def _classes(root: Path, book: RegionBook) -> dict[int, str]:
    """mask.txt: class number → name."""
    file = next((each for each in (root / "mask.txt", root / "imgs" / "mask.txt") if each.exists()), None)
    classes = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file else ():
        number, _, name = line.partition(":")
        if number.strip().isdigit() and name.strip():
            classes[int(number)] = name.strip()
        elif line.strip():
            book.rejected.append(f"{file}: {line!r} is not `number:name`")
    return classes
