"""Replies of language models: read whatever their wrapping, never guessed at."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medeyes_verl.expert.oracles.reading import box_in, confidence_in, json_in, text_in
from medeyes_verl.gaze.geometry import Box

REGION = '{"bbox_2d": [1, 2, 30, 40], "confidence": 0.7}'
WHOLE = {"bbox_2d": [1, 2, 30, 40], "confidence": 0.7}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (REGION, WHOLE),
        (f"[{REGION}]", [WHOLE]),
        (f"```json\n[{REGION}]\n```", [WHOLE]),
        (f"Sure! Here it is: {REGION} Anything else?", WHOLE),
        (f'I looked [carefully] at it. {{"regions": [{REGION}]}}', {"regions": [WHOLE]}),
        (f"<think>{{maybe}}</think> {REGION}", WHOLE),
        ("[]", []),
        ('{"regions": []}', {"regions": []}),
        # Cut off: the whole objects are saved.
        (f'{{"thought": "x", "regions": [{REGION}, {{"bbox_2d": [5, 6', [WHOLE]),
        (f"[{REGION}, {REGION}, ", [WHOLE, WHOLE]),
        ('{"regions": [{"bbox_2d": [5, 6', None),
        ("No abnormality.", None),
        ("", None),
        ("[1, 2, 3]", None),
        ("{" * 10_000, None),
        ("[" * 100_000, None),
    ],
)
def test_json_in(text: str, value: Any) -> None:
    assert json_in(text) == value


@given(st.text(max_size=300))
def test_any_text_is_survived(text: str) -> None:
    json_in(text)
    json_in(f'{{"regions": [{text}')


@pytest.mark.parametrize(
    ("fields", "box"),
    [
        ({"bbox_2d": [1, 2, 3, 4]}, Box(1, 2, 3, 4)),
        ({"box": [1.5, 2, 3, 4]}, Box(1.5, 2, 3, 4)),
        ({}, "box missing"),
        ({"bbox_2d": [1, 2, 3]}, "box malformed"),
        ({"bbox_2d": "1,2,3,4"}, "box malformed"),
        ({"bbox_2d": [1, 2, 3, None]}, "box malformed"),
        ({"bbox_2d": [1, 2, True, 4]}, "box malformed"),
        ({"bbox_2d": [1, 2, float("nan"), 4]}, "box malformed"),
        ({"bbox_2d": [1, 2, 10**400, 4]}, "box malformed"),
        ({"bbox_2d": [3, 2, 1, 4]}, "box inverted or empty"),
        ({"bbox_2d": [1, 2, 1, 4]}, "box inverted or empty"),
    ],
)
def test_box_in(fields: dict[str, Any], box: Box | str) -> None:
    assert box_in(fields) == box


@pytest.mark.parametrize(
    ("value", "confidence"),
    [
        (0, 0.0),
        (1, 1.0),
        (0.35, 0.35),
        ("0.35", 0.35),
        ("85%", 0.85),
        (" 85 % ", 0.85),
        (85, "confidence outside 0..1"),
        (-0.1, "confidence outside 0..1"),
        ("120%", "confidence outside 0..1"),
        ("high", "confidence not a number"),
        ("nan", "confidence not a number"),
        (True, "confidence not a number"),
        ([0.5], "confidence not a number"),
        (None, "confidence missing"),
    ],
)
def test_confidence_in(value: Any, confidence: float | str) -> None:
    assert confidence_in({"confidence": value}) == confidence
    assert confidence_in({"score": value}) == confidence


def test_text_in() -> None:
    assert text_in({"label": " ", "name": "mass"}, ("label", "name")) == "mass"
    assert text_in({"label": 3}, ("label",)) is None
