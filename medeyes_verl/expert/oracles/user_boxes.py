"""A user's own boxes: COCO-style JSON, or a plain CSV.

COCO: `images` (id, file_name, width, height), `categories` (id, name), `annotations` (image_id, category_id,
bbox [x, y, w, h]; optionally `target`: true).
CSV, with a header: `image` or `expert_id`, then x1, y1, x2, y2 in pixels of the original, `label`, and
optionally `target` (1/0, true/false). One box a line.

Pictures are named relative to a folder and matched to questions by content.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medeyes_verl.expert.oracles.region_book import Drawn, RegionBook, digest_of_picture
from medeyes_verl.gaze.geometry import Box, Size

MAX_JSON_BYTES = 2 << 30
_TRUE, _FALSE = ("1", "true", "yes"), ("", "0", "false", "no")


def read_coco(file: Path, pictures: Path) -> RegionBook:
    """Boxes of a COCO-style file whose `file_name`s are relative to `pictures`.

    Single entries that make no sense are in `rejected`. Raises ValueError where the file is no such file.
    """
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"larger than {MAX_JSON_BYTES} bytes")
        content = json.loads(file.read_text(encoding="utf-8"))
        images = {each["id"]: each for each in content["images"]}
        names = {each["id"]: str(each["name"]) for each in content["categories"]}
        annotations = list(content["annotations"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: not a COCO file with images, categories and annotations ({error!r})") from error
    book = RegionBook()
    pages: dict[Any, tuple[list[Drawn], Size | None] | None] = {}
    for place, annotation in enumerate(annotations):
        where = f"{file} annotation {place}"
        try:
            image = annotation["image_id"]
            if image not in pages:
                pages[image] = _page(images[image], pictures, book, where)
            page = pages[image]
            x, y, width, height = (float(side) for side in annotation["bbox"])
            drawn = Drawn(
                Box(x, y, x + width, y + height), names[annotation["category_id"]], bool(annotation.get("target"))
            )
        except (KeyError, TypeError, ValueError) as error:
            book.rejected.append(f"{where}: {error!r}")
            continue
        if page is not None:
            book.add(page[0], drawn, where, page[1])
    return book


def read_csv(file: Path, pictures: Path) -> RegionBook:
    """Boxes of a CSV file whose `image`s are relative to `pictures`, or which names questions by `expert_id`.

    Single lines that make no sense are in `rejected`. Raises ValueError where the header does not fit.
    """
    book = RegionBook()
    with open(file, newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        header = set(reader.fieldnames or ())
        missing = {"x1", "y1", "x2", "y2", "label"} - header
        if missing or not header & {"image", "expert_id"}:
            absent = sorted(missing) or ["image or expert_id"]
            raise ValueError(f"{file}: the header lacks {', '.join(absent)}")
        for line in reader:
            where = f"{file} line {reader.line_num}"
            try:
                box = Box(float(line["x1"]), float(line["y1"]), float(line["x2"]), float(line["y2"]))
                drawn = Drawn(box, line["label"].strip(), _flag(line.get("target") or ""))
                boxes = _boxes_of(line, pictures, book)
            except (ValueError, TypeError, AttributeError) as error:
                book.rejected.append(f"{where}: {error}")
                continue
            book.add(boxes, drawn, where)
    return book


def _page(
    image: Mapping[str, Any], pictures: Path, book: RegionBook, where: str
) -> tuple[list[Drawn], Size | None] | None:
    """The list that collects a picture's boxes, and its size; None (and rejected) when the picture is not there."""
    try:
        digest = digest_of_picture(str(inside(pictures, str(image["file_name"]))))
    except ValueError as error:
        book.rejected.append(f"{where}: {error}")
        return None
    size = Size(int(image["width"]), int(image["height"])) if image.keys() >= {"width", "height"} else None
    return book.by_picture.setdefault(digest, []), size


def _boxes_of(line: Mapping[str, str], pictures: Path, book: RegionBook) -> list[Drawn]:
    if line.get("expert_id"):
        return book.by_question.setdefault(line["expert_id"], [])
    return book.by_picture.setdefault(digest_of_picture(str(inside(pictures, line["image"]))), [])


def inside(folder: Path, name: str) -> Path:
    """`folder/name`. Raises ValueError where the name leads out of the folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"{name!r} leads out of {folder}")
    return path


def _flag(text: str) -> bool:
    if text.strip().lower() in _TRUE:
        return True
    if text.strip().lower() in _FALSE:
        return False
    raise ValueError(f"target is {text!r}, neither true nor false")
