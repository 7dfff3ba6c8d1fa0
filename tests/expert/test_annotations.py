"""The annotation oracle: its confidence formula by hand, decoys refuted, answers only from what was resolved."""

from __future__ import annotations

import asyncio

import pytest

from medeyes_verl.data.row import Region
from medeyes_verl.expert.oracles.annotations import UNKNOWN, Annotated, AnnotationOracle
from medeyes_verl.expert.oracles.protocol import Candidate, Finding
from medeyes_verl.expert.question import Question
from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.gaze.tiny_episode import tiny_episode

TINY = tiny_episode().view
LESION, DECOY = Box(200, 100, 264, 164), Box(20, 20, 80, 80)
ORACLE = AnnotationOracle(TINY, TINY)
NATIVE = Box(168, 56, 280, 168)
"""112 px of the original, shown in 112 px."""


def question(*regions: Region) -> Question:
    return Question("q", "What is the lesion?", "open", "ring", (), ("/p.png",), (Size(448, 448),), regions)


BOTH = question(Region(LESION, "ring", target=True), Region(DECOY, "decoy"))


def test_a_scan_sees_what_the_view_resolves_and_names_nothing() -> None:
    located = asyncio.run(ORACLE.locate(BOTH, ()))
    # 64 px of the original are 16 px of the view: 16 / 23; 60 are 15: 15 / 22.
    assert [each.confidence for each in located.candidates] == pytest.approx([16 / 23, 15 / 22])
    assert [each.label for each in located.candidates] == [None, None]


def test_a_drill_sees_what_the_crop_resolves() -> None:
    seen = asyncio.run(ORACLE.assess(BOTH, Candidate(LESION, 0.7), NATIVE))
    assert (seen.confidence, seen.label) == (pytest.approx(64 / 71), "ring")
    half = asyncio.run(ORACLE.assess(BOTH, Candidate(LESION, 0.7), Box(232, 56, 344, 168)))
    side = (32 * 64) ** 0.5
    assert half.confidence == pytest.approx(side / (side + 7))
    missed = asyncio.run(ORACLE.assess(BOTH, Candidate(LESION, 0.7), Box(300, 300, 412, 412)))
    assert missed.confidence == 0


def test_enlarging_resolves_no_more() -> None:
    for side in (84, 112):
        close = Box(232 - side / 2, 132 - side / 2, 232 + side / 2, 132 + side / 2)
        assert asyncio.run(ORACLE.assess(BOTH, Candidate(LESION, 0.7), close)).confidence == pytest.approx(64 / 71)
    wide = asyncio.run(ORACLE.assess(BOTH, Candidate(LESION, 0.7), Box(120, 20, 344, 244)))
    assert wide.confidence == pytest.approx(32 / 39)


def test_a_decoy_is_refuted_and_not_named() -> None:
    seen = asyncio.run(ORACLE.assess(BOTH, Candidate(DECOY, 0.7), Box(0, 0, 112, 112)))
    assert (seen.confidence, seen.label) == (pytest.approx(1 - 60 / 67), None)


def test_without_a_target_every_region_counts() -> None:
    asked = question(Region(DECOY, "mass"))
    seen = asyncio.run(ORACLE.assess(asked, Candidate(DECOY, 0.7), Box(0, 0, 112, 112)))
    assert (seen.confidence, seen.label) == (pytest.approx(60 / 67), "mass")
    assert asyncio.run(ORACLE.answer(asked, ())).text == "ring"


def test_the_answer_is_known_once_the_target_was_resolved() -> None:
    def looked_at(gaze: Box) -> Finding:
        return Finding(Candidate(LESION, 0.7), gaze, None)

    assert asyncio.run(ORACLE.answer(BOTH, ())).text == UNKNOWN
    assert asyncio.run(ORACLE.answer(BOTH, [looked_at(Box(0, 0, 448, 448))])).text == UNKNOWN
    assert asyncio.run(ORACLE.answer(BOTH, [looked_at(Box(0, 300, 112, 412))])).text == UNKNOWN
    assert asyncio.run(ORACLE.answer(BOTH, [looked_at(NATIVE)])).text == "ring"


def test_a_target_that_the_view_resolves_needs_no_gaze() -> None:
    assert asyncio.run(ORACLE.answer(question(Region(Box(0, 0, 300, 300), "x", target=True)), ())).text == "ring"


def test_annotations_from_elsewhere() -> None:
    oracle = AnnotationOracle(TINY, TINY, lambda question: [Annotated(LESION, "liver", named=True)])
    assert [each.label for each in asyncio.run(oracle.locate(BOTH, ())).candidates] == ["liver"]
    assert asyncio.run(AnnotationOracle(TINY, TINY, lambda question: ()).locate(BOTH, ())).candidates == ()
