"""A trajectory: what it refuses, and that its text is what a policy would have written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medeyes_verl.expert.trajectory import ExpertStep, Trajectory, turn_texts
from medeyes_verl.gaze.crop import fitted_size
from medeyes_verl.gaze.geometry import Box, Size, to_original
from medeyes_verl.gaze.grammar import parse_turn
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.gaze.tiny_episode import tiny_episode

TINY = tiny_episode()
STEPS = (ExpertStep("scan", Box(0, 56, 112, 168), confidence=0.5), ExpertStep("empty", Box(224, 224, 336, 336)))
RING = Trajectory("q1", STEPS, "ring seen", "ring", True, "scripted")


def test_texts_are_written_in_pixels_of_the_view() -> None:
    assert turn_texts(RING, TINY, [Size(448, 448)]) == [
        '<reasoning>scan</reasoning>\n<action>{"name": "Gaze", "coordinate": [0, 14, 28, 42]}</action>',
        '<reasoning>empty</reasoning>\n<action>{"name": "Gaze", "coordinate": [56, 56, 84, 84]}</action>',
        "<reasoning>ring seen</reasoning>\n<answer>ring</answer>",
    ]


def test_texts_are_written_in_thousandths_where_the_model_does() -> None:
    settings = EpisodeSettings(frame="relative_1000")
    assert '"coordinate": [0, 125, 250, 375]' in turn_texts(RING, settings, [Size(448, 448)])[0]


def test_the_second_picture_is_named() -> None:
    step = ExpertStep("scan", Box(0, 0, 100, 100), image=2)
    two = Trajectory("q1", (step,), "seen", "ring", True, "scripted")
    text = turn_texts(two, TINY, [Size(448, 448), Size(200, 100)])[0]
    assert text.endswith('"image": 2}</action>')
    with pytest.raises(ValueError, match=r"q1.*picture 2 of 1"):
        turn_texts(two, TINY, [Size(448, 448)])


@given(
    st.tuples(st.integers(100, 2000), st.integers(100, 2000)),
    st.tuples(st.floats(0, 0.8), st.floats(0, 0.8), st.floats(0.1, 0.2), st.floats(0.1, 0.2)),
    st.sampled_from(["absolute", "relative_1000"]),
)
def test_a_written_box_leads_back_to_the_same_place(
    sides: tuple[int, int], shares: tuple[float, float, float, float], frame: str
) -> None:
    original, settings = Size(*sides), EpisodeSettings(frame=frame)  # type: ignore[arg-type]
    left, top, wide, high = shares
    box = Box(
        left * original.width,
        top * original.height,
        (left + wide) * original.width,
        (top + high) * original.height,
    )
    step = ExpertStep("scan", box)
    turn = parse_turn(turn_texts(Trajectory("q", (step,), "seen", "x", True, "s"), settings, [original])[0])
    assert turn.box is not None
    view = fitted_size(original, settings.view)
    back = to_original(turn.box, settings.frame, view, original)
    unit = max(original.width / min(view.width, 1000), original.height / min(view.height, 1000))
    assert all(abs(a - b) <= unit for a, b in zip(back.as_list(), box.as_list(), strict=True))


@pytest.mark.parametrize("reasoning", ["", " scan", "a <answer>b</answer>"])
def test_words_that_the_grammar_would_not_read_back_are_refused(reasoning: str) -> None:
    bad = Trajectory("q9", (ExpertStep(reasoning, Box(0, 0, 112, 112)),), "seen", "ring", True, "user")
    with pytest.raises(ValueError, match="q9"):
        turn_texts(bad, TINY, [Size(448, 448)])


@pytest.mark.parametrize(
    "box", [(5, 0, 5, 9), (9, 0, 5, 9), (0, 9, 9, 0), (0, 0, float("nan"), 9), (0, 0, 9, float("inf"))]
)
def test_a_box_that_is_none_is_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="box"):
        ExpertStep("scan", Box(*box))


@pytest.mark.parametrize("confidence", [-0.1, 1.1, float("nan")])
def test_a_confidence_outside_its_range_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        ExpertStep("scan", Box(0, 0, 9, 9), confidence=confidence)


def test_image_counts_from_one() -> None:
    with pytest.raises(ValueError, match="counts from 1"):
        ExpertStep("scan", Box(0, 0, 9, 9), image=0)


def test_dict_round_trip() -> None:
    assert Trajectory.from_dict("q1", RING.as_dict()) == RING


@pytest.mark.parametrize(
    "change",
    [
        {"correct": "yes"},
        {"answer": None},
        {"steps": [{"reasoning": "scan", "box": [0, 0, 9]}]},
        {"steps": [{"box": [0, 0, 9, 9]}]},
        {"steps": [{"reasoning": "scan", "box": [9, 0, 0, 9]}]},
        {"steps": 3},
    ],
)
def test_a_wrong_field_names_the_question(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="q1"):
        Trajectory.from_dict("q1", {**RING.as_dict(), **change})
