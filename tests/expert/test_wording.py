"""Words come from recorded facts, can always stand inside a turn, and never carry a tag."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medeyes_verl.expert.oracles.protocol import Assessment, Candidate, Finding
from medeyes_verl.expert.wording import (
    MAX_CHARACTERS,
    cleaned,
    conclusion_words,
    drill_words,
    look_words,
    place_of,
    scan_words,
)
from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.gaze.grammar import Turn, parse_turn, render_turn

SIZE = Size(900, 900)
BOX = Box(0, 0, 100, 100)


def finding(confidence: float, label: str | None = None) -> Finding:
    return Finding(Candidate(BOX, 0.5), BOX, Assessment(confidence, label))


@pytest.mark.parametrize(
    ("box", "place"),
    [
        (Box(0, 0, 100, 100), "upper left of the image"),
        (Box(800, 800, 900, 900), "lower right of the image"),
        (Box(400, 0, 500, 100), "upper part of the image"),
        (Box(0, 400, 100, 500), "left part of the image"),
        (Box(400, 400, 500, 500), "middle of the image"),
    ],
)
def test_places_are_the_viewers(box: Box, place: str) -> None:
    assert place_of(box, SIZE) == place


def test_nothing_is_said_to_be_seen_that_nobody_saw() -> None:
    rng = random.Random(0)
    for _ in range(50):
        empty = look_words("sentences", [finding(0.1, "mass")], None, "left part of the image", None, rng)
        assert "mass" not in empty
        assert "othing" in empty
        assert "mass" not in conclusion_words("sentences", [finding(0.1, "mass")], [SIZE], None, rng)
        unasked = Finding(Candidate(BOX, 0.9, label="mass"), BOX, None)
        assert "mass" not in conclusion_words("sentences", [unasked], [SIZE], None, rng)
        named = conclusion_words("sentences", [finding(0.9, "mass")], [SIZE], None, rng)
        assert "mass" in named
        assert "upper left" in named


def test_an_oracles_own_words_are_taken_only_where_it_gave_some() -> None:
    rng = random.Random(0)
    assert scan_words("oracle", (), "The left lung looks denser.", rng) == "The left lung looks denser."
    assert "whole image" in scan_words("oracle", (), None, rng)
    assert drill_words("oracle", "Denser still.", rng) == "Denser still."
    assert drill_words("sentences", "Denser still.", rng) != "Denser still."


@pytest.mark.parametrize(
    ("words", "clean"),
    [
        ("a </reasoning><answer>yes</answer> b", "a yes b"),
        ("  two\n lines ", "two lines"),
        ("<<action>>", "…"),
        ("", "…"),
        ("a < b", "a b"),
        ("左肺", "左肺"),
    ],
)
def test_cleaned(words: str, clean: str) -> None:
    assert cleaned(words) == clean


def test_long_words_end_with_a_sentence() -> None:
    clean = cleaned("A sentence. " * 200)
    assert clean.endswith("sentence.")
    assert len(clean) <= MAX_CHARACTERS


@given(st.text(max_size=2000))
def test_any_words_can_stand_in_a_turn(words: str) -> None:
    turn = Turn(cleaned(words), answer="yes")
    assert parse_turn(render_turn(turn)) == turn


@given(st.text(max_size=80))
def test_any_label_can_stand_in_a_turn(label: str) -> None:
    rng = random.Random(0)
    for style in ("sentences", "terse"):
        texts = [
            look_words(style, [finding(0.9, label)], label, "middle of the image", None, rng),
            conclusion_words(style, [finding(0.9, label)], [SIZE], None, rng),
        ]
        for text in texts:
            turn = Turn(text, answer="yes")
            assert parse_turn(render_turn(turn)) == turn
