"""CVS: the nucleus by hand, reproducible variety, counted shortfalls, labelled answers."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medeyes_verl.data.row import Region
from medeyes_verl.expert.framing import GRID_FRAMING, Framing
from medeyes_verl.expert.navigator import NavigatorSettings
from medeyes_verl.expert.oracles.annotations import AnnotationOracle
from medeyes_verl.expert.question import Question
from medeyes_verl.expert.sampler import Sampled, SamplerSettings, inadmissible, nucleus_of, sample
from medeyes_verl.expert.trajectory import ExpertStep, Trajectory
from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.gaze.tiny_episode import tiny_episode

TINY = tiny_episode().view
LESION = Region(Box(200, 100, 264, 164), "ring", target=True)
DECOY = Region(Box(20, 20, 80, 80), "decoy")
TERSE = SamplerSettings(
    navigator=NavigatorSettings(scan_gazes=False, style="terse", framing=GRID_FRAMING),
    episode=EpisodeSettings(view=TINY, crop=TINY),
)


def question(*regions: Region, name: str = "q") -> Question:
    return Question(name, "What is the lesion?", "open", "ring", (), ("/p.png",), (Size(448, 448),), regions)


def judge(question: Question, answer: str) -> bool:
    return answer == question.ground_truth


def drawn(asked: Question, settings: SamplerSettings = TERSE, seed: int = 0) -> Sampled:
    return asyncio.run(sample(asked, AnnotationOracle(TINY, TINY), settings, seed, judge))


def test_nucleus_by_hand() -> None:
    """softmax(2, 1, 0) = 0.665, 0.245, 0.090."""
    kept = nucleus_of([1.0, 2.0, 0.0], 0.9, 1.0)
    assert [index for index, _ in kept] == [1, 0]
    assert [probability for _, probability in kept] == pytest.approx([0.66524, 0.24473], abs=1e-5)
    assert [index for index, _ in nucleus_of([1.0, 2.0, 0.0], 0.6, 1.0)] == [1]
    assert len(nucleus_of([1.0, 2.0, 0.0], 1.0, 1.0)) == 3
    assert [index for index, _ in nucleus_of([0.5, 0.5], 0.5, 1.0)] == [0]
    # A low temperature sharpens: the top one alone suffices.
    assert [index for index, _ in nucleus_of([0.9, 0.5], 0.9, 0.1)] == [0]


def test_the_papers_nucleus_by_hand() -> None:
    """softmax(2, 1, 0) = 0.665, 0.245, 0.090: 0.9 is crossed by the second, 0.92 by the third, 0.6 by the first."""

    def within(share: float) -> list[int]:
        return [index for index, _ in nucleus_of([1.0, 2.0, 0.0], share, 1.0, "within")]

    assert (within(0.6), within(0.9), within(0.92), within(1.0)) == ([1], [1], [1, 0], [1, 0, 2])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.01, 1), st.floats(0.05, 5))
def test_within_is_a_beginning_of_reach_that_stays_within(
    confidences: list[float], share: float, temperature: float
) -> None:
    reach = nucleus_of(confidences, share, temperature)
    within = nucleus_of(confidences, share, temperature, "within")
    assert within == reach[: len(within)]
    assert len(reach) - 1 <= len(within) <= len(reach)
    assert len(within) == 1 or math.fsum(probability for _, probability in within) <= share + 1e-9


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.01, 1), st.floats(0.05, 5))
def test_the_nucleus_is_the_smallest_that_reaches_its_share(
    confidences: list[float], share: float, temperature: float
) -> None:
    kept = nucleus_of(confidences, share, temperature)
    total = math.fsum(probability for _, probability in kept)
    assert total >= share - 1e-9
    assert total - kept[-1][1] < share
    left = [confidences[index] for index in range(len(confidences)) if index not in dict(kept)]
    assert all(confidences[index] >= each for index, _ in kept for each in left)


def test_trajectories_are_different_reproducible_and_of_their_seed() -> None:
    one = drawn(question(LESION, DECOY))
    boxes = [tuple(step.box for step in each.steps) for each in one.trajectories]
    assert len(boxes) == len(set(boxes)) >= 4
    assert {len(each.steps) for each in one.trajectories} == {1, 2}
    assert one == drawn(question(LESION, DECOY))
    assert one != drawn(question(LESION, DECOY), seed=1)
    assert one.trajectories != drawn(question(LESION, DECOY, name="other")).trajectories


def test_words_of_the_tiny_policy() -> None:
    for each in drawn(question(LESION, DECOY)).trajectories:
        words = [step.reasoning for step in each.steps]
        assert words in (["scan"], ["scan", "empty"])
        assert (each.conclusion, each.answer, each.correct, each.source) == ("ring seen", "ring", True, "grn_cvs")


def test_where_nothing_varies_the_shortfall_is_counted() -> None:
    rigid = replace(TERSE, navigator=replace(TERSE.navigator, framing=replace(GRID_FRAMING, jitter=0)))
    made = drawn(question(LESION), rigid)
    assert len(made.trajectories) == 1
    assert (made.record["shortfall"], made.record["wanted"]) == (5, 6)
    assert made.record["rejected"]["duplicate"] == 23


def test_an_answer_that_was_not_reached_is_kept_and_labelled_wrong() -> None:
    """Four decoys and one lesion, two gazes: some walks end before the lesion."""
    decoys = [Region(Box(x, 300, x + 60, 360), "decoy") for x in (0, 120, 240, 360)]
    short = replace(TERSE, navigator=replace(TERSE.navigator, max_gazes=2))
    made = [each for seed in range(5) for each in drawn(question(LESION, *decoys), short, seed).trajectories]
    assert {each.correct for each in made} == {True, False}
    assert {each.answer for each in made if not each.correct} == {"unknown"}
    assert {each.conclusion for each in made if not each.correct} == {"done"}


def test_greedy_gives_one_trajectory_and_says_so() -> None:
    made = drawn(question(LESION, DECOY), replace(TERSE, greedy=True))
    assert len(made.trajectories) == 1
    assert made.record["shortfall"] == 5
    assert made.trajectories[0].source == "grn_greedy"
    # The lesion is the larger of the two, and so the one that the view resolves better.
    assert len(made.trajectories[0].steps) == 1


@pytest.mark.parametrize("modes", ["scan_only", "drill_only", "random"])
def test_ablations_are_labelled(modes: str) -> None:
    settings = replace(TERSE, navigator=replace(TERSE.navigator, modes=modes))  # type: ignore[arg-type]
    made = drawn(question(LESION, DECOY), settings)
    assert {each.source for each in made.trajectories} == {modes}
    assert made.record["maker"] == modes


def test_n_and_t_max_are_kept() -> None:
    made = drawn(question(LESION, DECOY), replace(TERSE, n=2))
    assert len(made.trajectories) == 2


def test_the_record_is_json_and_tells_every_decision() -> None:
    made = drawn(question(LESION, DECOY))
    record = json.loads(json.dumps(made.record, allow_nan=False))
    assert record["oracle"] == "annotations"
    assert len(record["walks"]) == len(made.trajectories)
    for each, trajectory in zip(record["walks"], made.trajectories, strict=True):
        assert each["stop"] == "confident"
        drills = [decision for decision in each["decisions"] if decision["mode"] == "drill"]
        assert [decision["gaze"] for decision in drills] == list(range(len(trajectory.steps)))
        assert all({"before", "after", "gain", "region", "next"} <= decision.keys() for decision in drills)


@pytest.mark.parametrize(
    ("box", "image", "reason"),
    [
        (Box(0, 0, 4, 100), 1, "tiny_box"),
        (Box(0, 0, 400, 30), 1, "sliver_box"),
        (Box(0, 0, 112, 112), 1, None),
    ],
)
def test_what_the_policys_episode_refuses_is_not_kept(box: Box, image: int, reason: str | None) -> None:
    one = Trajectory("q", (ExpertStep("scan", box, image),), "seen", "ring", True, "grn_cvs")
    assert inadmissible(one, EpisodeSettings(), [Size(448, 448)]) == reason


def test_too_many_gazes_and_unreadable_text_are_not_kept() -> None:
    step = ExpertStep("scan", Box(0, 0, 112, 112))
    many = Trajectory("q", (step,) * 5, "seen", "ring", True, "grn_cvs")
    assert inadmissible(many, EpisodeSettings(), [Size(448, 448)]) == "too many gazes"
    wordless = Trajectory("q", (replace(step, reasoning=""),), "seen", "ring", True, "grn_cvs")
    assert inadmissible(wordless, EpisodeSettings(), [Size(448, 448)]) == "text"


@given(
    st.tuples(st.integers(60, 3000), st.integers(60, 3000)),
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0.001, 1), st.floats(0.001, 1)),
    st.integers(0, 3),
    st.sampled_from([Framing(), GRID_FRAMING]),
)
def test_a_gaze_lies_inside_and_is_admissible(
    sides: tuple[int, int], shares: tuple[float, float, float, float], depth: int, framing: Framing
) -> None:
    import random

    size = Size(*sides)
    if max(size) > 4 * min(size):
        return
    x, y, wide, high = shares
    region = Box(x * size.width * 0.9, y * size.height * 0.9, 0, 0)
    region = Box(region.x1, region.y1, region.x1 + wide * size.width, region.y1 + high * size.height).clipped(size)
    gaze = framing.gaze(region, size, depth, random.Random(0))
    assert gaze == gaze.clipped(size)
    step = ExpertStep("scan", gaze)
    made = Trajectory("q", (step,), "seen", "ring", True, "grn_cvs")
    assert inadmissible(made, EpisodeSettings(), [size]) is None
    if not framing.side:
        assert gaze.width >= min(framing.min_side, size.width) - 1
