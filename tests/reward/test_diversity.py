"""r_div by hand: unique regions up to three, and the share of pairs that differ."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medeyes_verl.gaze.geometry import Box
from medeyes_verl.reward.diversity import r_div

A, B, C, D = (Box(x, 0, x + 10, 10) for x in (0, 20, 40, 60))
NEAR_A = Box(1, 0, 11, 10)  # IoU 9/11 with A
HALF_A = Box(0, 0, 10, 5)  # IoU exactly 0.5 with A: the same region
LESS_A = Box(0, 0, 10, 4.9)


@pytest.mark.parametrize(
    ("boxes", "value"),
    [
        ([], 0.0),
        ([A], 0.5 * 1 / 3),
        ([A, A], 0.5 * 1 / 3),
        ([A, NEAR_A], 0.5 * 1 / 3),
        ([A, HALF_A], 0.5 * 1 / 3),
        ([A, LESS_A], 0.5 * 2 / 3 + 0.5),
        ([A, B], 0.5 * 2 / 3 + 0.5),
        ([A, B, C], 1.0),
        ([A, B, C, D], 1.0),
        ([A, A, B], 0.5 * 2 / 3 + 0.5 * 2 / 3),
        ([A, B, A, C], 0.5 + 0.5 * 5 / 6),
        ([A] * 9, 0.5 * 1 / 3),
    ],
)
def test_by_hand(boxes: list[Box], value: float) -> None:
    assert r_div(boxes) == pytest.approx(value)


def test_the_same_box_on_another_picture_is_another_region() -> None:
    assert r_div([A, A], [1, 2]) == r_div([A, B])
    assert r_div([A, A], [2, 2]) == r_div([A, A])


boxes = st.lists(
    st.builds(lambda x, y, w, h: Box(x, y, x + w, y + h), *[st.integers(0, 50)] * 2, *[st.integers(1, 60)] * 2)
)


@given(boxes.filter(lambda found: len(found) < 9))
def test_bounded(found: list[Box]) -> None:
    assert 0.0 <= r_div(found) <= 1.0
    assert (r_div(found) == 0) == (not found)


@given(st.lists(st.sampled_from([A, B, C, D]), unique=True))
def test_the_first_gaze_repeated_never_pays(found: list[Box]) -> None:
    for box in found:
        assert r_div([*found, box]) <= r_div(found)
