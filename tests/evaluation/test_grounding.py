"""The best gaze against the target, on boxes that can be worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medeyes_verl.data.row import Region
from medeyes_verl.evaluation.grounding import Grounding, grounding
from medeyes_verl.gaze.geometry import Box
from medeyes_verl.gaze.trace import EpisodeTrace
from tests.traces import trace_of

TARGET = Region(Box(0, 0, 10, 10), "ring", target=True)
DECOY = Region(Box(50, 50, 60, 60), "smooth", target=False)


def record(*boxes: Box, images: tuple[int, ...] | None = None) -> EpisodeTrace:
    return trace_of(*boxes, images=images)


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ((Box(0, 0, 10, 10),), Grounding(1, 1, 1, 1, 1)),
        # half beside it: 50 shared of 150
        ((Box(5, 0, 15, 10),), Grounding(1 / 3, 0, 0, 0.5, 0.5)),
        # the whole of it and as much again: 100 shared of 200
        ((Box(0, 0, 20, 10),), Grounding(0.5, 1, 0, 2 / 3, 1)),
        # everything: covers the target, says nothing
        ((Box(0, 0, 100, 100),), Grounding(0.01, 0, 0, 2 * 100 / 10_100, 1)),
        # a small one inside it: 16 of 100
        ((Box(3, 3, 7, 7),), Grounding(0.16, 0, 1, 2 * 16 / 116, 0.16)),
        # the best of several, wherever it stands
        ((Box(50, 50, 60, 60), Box(0, 0, 10, 10), Box(0, 0, 100, 100)), Grounding(1, 1, 1, 1, 1)),
        ((Box(50, 50, 60, 60),), Grounding(0, 0, 0, 0, 0)),
        ((), Grounding(0, 0, 0, 0, 0)),
    ],
)
def test_by_hand(boxes: tuple[Box, ...], expected: Grounding) -> None:
    found = grounding(record(*boxes), (DECOY, TARGET))
    assert found is not None
    assert [getattr(found, name) for name in Grounding.__slots__] == pytest.approx(
        [getattr(expected, name) for name in Grounding.__slots__]
    )


def test_where_no_target_is_marked_nothing_is_said() -> None:
    assert grounding(record(Box(0, 0, 10, 10)), (DECOY,)) is None
    assert grounding(record(Box(0, 0, 10, 10)), ()) is None


def test_a_gaze_at_another_picture_is_no_gaze_at_the_target() -> None:
    found = grounding(record(Box(0, 0, 10, 10), images=(2,)), (TARGET,))
    assert found is not None
    assert found.iou == 0


def test_the_nearest_of_several_targets_counts() -> None:
    other = Region(Box(50, 50, 60, 60), "ring", target=True)
    found = grounding(record(Box(50, 50, 60, 60)), (TARGET, other))
    assert found is not None
    assert found.iou == 1


@given(*[st.integers(0, 20)] * 4)
def test_dice_and_coverage_agree_with_areas(x: int, y: int, width: int, height: int) -> None:
    gaze = Box(x, y, x + width + 1, y + height + 1)
    found = grounding(record(gaze), (TARGET,))
    assert found is not None
    shared = max(0, min(gaze.x2, 10) - x) * max(0, min(gaze.y2, 10) - y)
    assert found.dice == pytest.approx(2 * shared / (gaze.area + 100))
    assert found.coverage == pytest.approx(shared / 100)
