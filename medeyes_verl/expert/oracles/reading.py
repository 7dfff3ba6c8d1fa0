"""Reading what a language model says: JSON in prose, in fences or cut off, boxes, spoken confidences.

Tolerant of form, strict on content: whatever the wrapping, a box without four finite numbers or a
confidence that is none is not guessed at but refused, with a reason that is counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from medeyes_verl.gaze.geometry import Box

MAX_CHARACTERS = 100_000
MAX_OBJECTS = 200
"""Objects tried in one reply."""
BOX_KEYS = ("bbox_2d", "bbox", "box", "coordinates", "coordinate")
CONFIDENCE_KEYS = ("confidence", "score", "probability", "certainty")
LABEL_KEYS = ("label", "name", "finding")
THOUGHT_KEYS = ("thought", "reasoning", "rationale", "explanation")

_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")


def json_in(text: str) -> dict[str, Any] | list[Any] | None:
    """The first JSON object, or list of objects, in a reply; None when there is none.

    Of a reply that was cut off, the objects that are whole come back as a list.
    """
    text = text[:MAX_CHARACTERS]
    decoder = json.JSONDecoder()
    for start in _openings(text):
        try:
            value, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and _is_outermost(text, start):
            return value
        if isinstance(value, list) and (not value or all(isinstance(each, dict) for each in value)):
            return value
    whole = list(_whole_objects(text, decoder))
    return whole or None


def box_in(fields: Mapping[str, Any]) -> Box | str:
    """The box of one object, in whatever frame it is written; or why there is none."""
    value = next((fields[key] for key in BOX_KEYS if key in fields), None)
    if value is None:
        return "box missing"
    if not isinstance(value, list) or len(value) != 4 or not all(_is_number(side) for side in value):
        return "box malformed"
    box = Box(*(float(side) for side in value))
    if box.width <= 0 or box.height <= 0:
        return "box inverted or empty"
    return box


def confidence_in(fields: Mapping[str, Any]) -> float | str:
    """The spoken confidence of one object, 0..1; "85%" is 0.85, a bare 85 is refused; or why there is none."""
    value = next((fields[key] for key in CONFIDENCE_KEYS if fields.get(key) is not None), None)
    if value is None:
        return "confidence missing"
    if isinstance(value, str):
        percent = _PERCENT.fullmatch(value)
        try:
            value = float(percent.group(1)) / 100 if percent else float(value)
        except ValueError:
            return "confidence not a number"
    if not _is_number(value):
        return "confidence not a number"
    return float(value) if 0.0 <= value <= 1.0 else "confidence outside 0..1"


def text_in(fields: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    """The first non-empty text under one of `keys`."""
    found = (fields[key] for key in keys if isinstance(fields.get(key), str) and fields[key].strip())
    return next(found, None)


def _openings(text: str) -> Iterator[int]:
    """Where a JSON value may begin, outermost first; a bounded number of places."""
    for count, match in enumerate(re.finditer(r"[{\[]", text)):
        if count >= MAX_OBJECTS:
            return
        yield match.start()


def _is_outermost(text: str, start: int) -> bool:
    """Whether the object at `start` lies in no bracket that was opened and not closed before it."""
    before = text[:start]
    return before.count("{") <= before.count("}") and before.count("[") <= before.count("]")


def _whole_objects(text: str, decoder: json.JSONDecoder) -> Iterator[dict[str, Any]]:
    end = 0
    for start in _openings(text):
        if start < end or text[start] != "{":
            continue
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def _is_number(value: object) -> bool:
    # Compared before anything else: a huge int has no float. NaN and infinity do not pass the comparison.
    return type(value) in (int, float) and abs(value) < 1e7  # type: ignore[arg-type]
