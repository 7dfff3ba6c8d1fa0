"""GRN: the mode rule, Δc and every reason to stop, against an oracle whose answers are written down."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from medeyes_verl.expert.framing import Framing
from medeyes_verl.expert.navigator import NavigatorSettings, Walk, answered, walk
from medeyes_verl.expert.oracles.protocol import Answer, Assessment, Candidate, Finding, Located
from medeyes_verl.expert.question import Question
from medeyes_verl.gaze.geometry import Box, Size

SIZE = Size(1000, 800)
WHOLE = Box(0, 0, 1000, 800)
A, B, C = (Box(x, 100, x + 100, 200) for x in (100, 400, 700))
QUESTION = Question("q", "What is it?", "open", "mass", (), ("/p.png",), (SIZE,))
PLAIN = NavigatorSettings(framing=Framing(margins=(0.5,)))


class Scripted:
    """Answers from tables: candidates of every scan, and the confidences of each region's drills in turn."""

    name = "scripted"

    def __init__(self, scans: Sequence[Sequence[tuple[Box, float]]], drills: dict[Box, Sequence[float]]) -> None:
        self.scans, self.drills = [list(each) for each in scans], {box: list(each) for box, each in drills.items()}
        self.asked: list[str] = []

    async def locate(self, question: Question, findings: Sequence[Finding]) -> Located:
        self.asked.append("locate")
        scan = self.scans.pop(0) if len(self.scans) > 1 else self.scans[0]
        return Located(tuple(Candidate(box, confidence) for box, confidence in scan), rejected=("inverted box",))

    async def assess(self, question: Question, candidate: Candidate, gaze: Box) -> Assessment:
        self.asked.append("assess")
        return Assessment(self.drills[candidate.box].pop(0), "mass")

    async def answer(self, question: Question, findings: Sequence[Finding]) -> Answer:
        self.asked.append("answer")
        return Answer("mass")

    async def close(self) -> None: ...


def first(confidences: Sequence[float], rng: random.Random) -> int:
    return 0


def go(oracle: Scripted, settings: NavigatorSettings = PLAIN) -> Walk:
    return asyncio.run(walk(QUESTION, oracle, settings, first, random.Random(0)))


def modes(path: Walk) -> list[str]:
    return [f"{decision.mode}>{decision.next}" for decision in path.decisions]


def test_confident_after_one_drill() -> None:
    path = go(Scripted([[(A, 0.6), (B, 0.5)]], {A: [0.9]}))
    assert (path.stop, modes(path)) == ("confident", ["scan>drill", "drill>stop"])
    assert [step.box for step in path.steps] == [WHOLE, Box(75, 75, 225, 225)]
    scan, drill = path.decisions
    assert (scan.gaze, scan.candidates) == (0, (0.6, 0.5))
    assert (drill.region, drill.gaze, drill.before, drill.after) == (A, 1, 0.6, 0.9)
    assert drill.gain == pytest.approx(0.3 / 0.600001)
    assert path.steps[1].confidence == 0.6
    assert path.rejected == ["inverted box"]


@pytest.mark.parametrize(("after", "then"), [(0.5749, "scan"), (0.5751, "drill"), (0.4, "scan")])
def test_drilling_goes_on_from_delta(after: float, then: str) -> None:
    """Δc ≥ 0.15: from 0.5 on, 0.575 is the border."""
    path = go(Scripted([[(A, 0.5), (B, 0.4)]], {A: [after, 0.9], B: [0.9]}))
    assert modes(path)[1] == f"drill>{then}"
    second = path.steps[2].box
    assert second == (WHOLE if then == "scan" else Box(88, 88, 213, 213))


def test_a_region_is_not_proposed_twice() -> None:
    path = go(Scripted([[(A, 0.6), (B, 0.5)]], {A: [0.1], B: [0.2]}))
    assert [decision.region for decision in path.decisions if decision.mode == "drill"] == [A, B]
    assert path.stop == "t_max"
    assert [step.box for step in path.steps] == [WHOLE, Box(75, 75, 225, 225), WHOLE, Box(375, 75, 525, 225)]


def test_nothing_left_writes_no_last_look() -> None:
    path = go(Scripted([[(A, 0.6)]], {A: [0.3]}))
    assert (path.stop, modes(path)) == ("nothing_left", ["scan>drill", "drill>scan", "scan>stop"])
    assert len(path.steps) == 2


def test_an_empty_scan_still_looks_once() -> None:
    for settings in (PLAIN, replace(PLAIN, scan_gazes=False)):
        path = go(Scripted([[]], {}), settings)
        assert (path.stop, [step.box for step in path.steps]) == ("nothing_left", [WHOLE])


def test_t_max_bounds_the_gazes() -> None:
    oracle = Scripted([[(A, 0.1), (B, 0.1), (C, 0.1)]], {A: [0.05], B: [0.05], C: [0.05]})
    path = go(oracle, replace(PLAIN, max_gazes=2, scan_gazes=False))
    assert (path.stop, len(path.steps)) == ("t_max", 2)
    assert oracle.asked == ["locate", "assess", "locate", "assess"]


def test_the_last_gaze_belongs_to_a_region() -> None:
    path = go(Scripted([[(A, 0.6), (B, 0.5)]], {A: [0.1], B: [0.2]}), replace(PLAIN, max_gazes=3))
    assert [step.box for step in path.steps] == [WHOLE, Box(75, 75, 225, 225), Box(375, 75, 525, 225)]


def test_a_gaze_that_would_repeat_itself_ends_the_drill() -> None:
    fixed = replace(PLAIN, scan_gazes=False, framing=Framing(side=112, grid=56))
    path = go(Scripted([[(A, 0.2), (B, 0.2)]], {A: [0.4], B: [0.9]}), fixed)
    assert modes(path) == ["scan>drill", "drill>scan", "scan>drill", "drill>stop"]


def test_at_most_five_candidates_most_confident_first() -> None:
    boxes = [(Box(x, 0, x + 50, 50), 0.1 + x / 2000) for x in range(0, 800, 100)]
    path = go(Scripted([boxes], {boxes[-1][0]: [0.9]}))
    assert path.decisions[0].candidates == pytest.approx((0.45, 0.4, 0.35, 0.3, 0.25))


def test_scan_only_never_asks_about_a_region() -> None:
    oracle = Scripted([[(A, 0.6), (B, 0.5)]], {})
    path = go(oracle, replace(PLAIN, modes="scan_only", scan_gazes=False))
    assert set(oracle.asked) == {"locate"}
    assert [decision.region for decision in path.decisions if decision.mode == "drill"] == [A, B]
    assert path.stop == "nothing_left"


def test_drill_only_scans_once_and_stays() -> None:
    oracle = Scripted([[(A, 0.6), (B, 0.5)]], {A: [0.5, 0.4, 0.3, 0.2]})
    path = go(oracle, replace(PLAIN, modes="drill_only"))
    assert oracle.asked.count("locate") == 1
    assert {decision.region for decision in path.decisions if decision.mode == "drill"} == {A}
    areas = [step.box.area for step in path.steps]
    assert areas == sorted(areas, reverse=True)
    assert (path.stop, len(path.steps)) == ("t_max", 4)


def test_random_boxes_ask_nothing_and_know_the_answer() -> None:
    oracle = Scripted([[]], {})
    paths = [
        asyncio.run(walk(QUESTION, oracle, replace(PLAIN, modes="random"), first, random.Random(seed)))
        for seed in range(200)
    ]
    assert {asyncio.run(answered(QUESTION, oracle, path)).text for path in paths} == {"mass"}
    assert oracle.asked == []
    assert {len(path.steps) for path in paths} == {1, 2, 3, 4}
    assert all(step.box == step.box.clipped(SIZE) for path in paths for step in path.steps)
    centres = [(step.box.x1 + step.box.x2) / 2 for path in paths for step in path.steps]
    assert 400 < sum(centres) / len(centres) < 600
