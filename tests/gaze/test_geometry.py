"""Boxes and frames: hand-worked examples and round trips."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medeyes_verl.gaze.geometry import FRAMES, Box, Size, frame_size, to_model, to_original


@pytest.mark.parametrize(
    ("first", "second", "iou"),
    [
        (Box(0, 0, 10, 10), Box(0, 0, 10, 10), 1.0),
        (Box(0, 0, 10, 10), Box(10, 0, 20, 10), 0.0),
        (Box(0, 0, 10, 10), Box(5, 0, 15, 10), 50 / 150),
        (Box(0, 0, 10, 10), Box(2, 2, 7, 7), 25 / 100),
        (Box(0, 0, 4, 4), Box(2, 2, 6, 6), 4 / 28),
        (Box(0, 0, 0, 0), Box(0, 0, 0, 0), 0.0),
        (Box(5, 5, 1, 1), Box(0, 0, 10, 10), 0.0),
        (Box(0.5, 0, 1.5, 1), Box(1, 0, 2, 1), 0.5 / 1.5),
    ],
)
def test_iou(first: Box, second: Box, iou: float) -> None:
    assert first.iou(second) == pytest.approx(iou)
    assert second.iou(first) == pytest.approx(iou)


@pytest.mark.parametrize(
    ("box", "width", "height", "area"),
    [
        (Box(1, 2, 4, 8), 3, 6, 18),
        (Box(4, 2, 1, 8), -3, 6, 0),
        (Box(4, 8, 1, 2), -3, -6, 0),
        (Box(3, 3, 3, 9), 0, 6, 0),
    ],
)
def test_sides_and_area(box: Box, width: float, height: float, area: float) -> None:
    assert (box.width, box.height, box.area) == (width, height, area)


def test_clipped_keeps_the_part_inside() -> None:
    assert Box(-5, 2, 50, 90).clipped(Size(40, 30)) == Box(0, 2, 40, 30)
    assert Box(1, 2, 3, 4).clipped(Size(40, 30)) == Box(1, 2, 3, 4)
    assert Box(50, 50, 60, 60).clipped(Size(40, 30)).area == 0


@pytest.mark.parametrize(
    ("written", "frame", "view", "original", "expected"),
    [
        # A view shrunk by 4 in both directions.
        (Box(14, 28, 42, 56), "absolute", Size(112, 112), Size(448, 448), Box(56, 112, 168, 224)),
        # Sides shrunk by different amounts: 1000×500 seen as 336×168, then as 280×168.
        (Box(84, 42, 168, 84), "absolute", Size(336, 168), Size(1000, 500), Box(250, 125, 500, 250)),
        (Box(70, 42, 140, 84), "absolute", Size(280, 168), Size(1000, 500), Box(250, 125, 500, 250)),
        # In thousandths the size of the view does not matter.
        (Box(250, 250, 500, 500), "relative_1000", Size(336, 168), Size(1000, 500), Box(250, 125, 500, 250)),
        (Box(0, 0, 1000, 1000), "relative_1000", Size(28, 28), Size(640, 480), Box(0, 0, 640, 480)),
    ],
)
def test_a_written_box_lands_on_the_original(written, frame, view, original, expected) -> None:
    assert to_original(written, frame, view, original).as_list() == pytest.approx(expected.as_list())
    assert to_model(expected, frame, view, original) == written


@pytest.mark.parametrize(
    ("box", "size", "snapped"),
    [
        (Box(3.4, 3.6, 7.5, 8.4), Size(20, 20), Box(3, 4, 8, 8)),
        (Box(3.1, 3.1, 3.2, 3.2), Size(20, 20), Box(3, 3, 4, 4)),
        (Box(19.9, 0, 25, 5), Size(20, 20), Box(19, 0, 20, 5)),
        (Box(-9, -9, -1, -1), Size(20, 20), Box(0, 0, 1, 1)),
        (Box(40, 40, 60, 60), Size(20, 20), Box(19, 19, 20, 20)),
    ],
)
def test_snapped_is_inside_and_never_empty(box: Box, size: Size, snapped: Box) -> None:
    assert box.snapped(size) == snapped


sides = st.integers(28, 4000)
sizes = st.builds(Size, sides, sides)


@given(frame=st.sampled_from(FRAMES), view=sizes, original=sizes, data=st.data())
def test_model_to_original_and_back_is_exact(frame, view, original, data) -> None:
    reach = frame_size(frame, view)
    x1, y1 = (data.draw(st.integers(0, side - 1)) for side in reach)
    box = Box(x1, y1, data.draw(st.integers(x1 + 1, reach.width)), data.draw(st.integers(y1 + 1, reach.height)))
    assert to_model(to_original(box, frame, view, original), frame, view, original) == box


@given(frame=st.sampled_from(FRAMES), view=sizes, original=sizes, data=st.data())
def test_original_to_model_and_back_moves_at_most_one_unit(frame, view, original, data) -> None:
    edges = [data.draw(st.floats(0, side)) for side in (*original, *original)]
    box = Box(min(edges[0], edges[2]), min(edges[1], edges[3]), max(edges[0], edges[2]), max(edges[1], edges[3]))
    reach = frame_size(frame, view)
    written = to_model(box, frame, view, original)
    assert all(value == int(value) for value in written.as_list())
    assert 0 <= written.x1 < written.x2 <= reach.width
    assert 0 <= written.y1 < written.y2 <= reach.height
    back = to_original(written, frame, view, original)
    units = [original.width / reach.width, original.height / reach.height] * 2
    for value, expected, unit in zip(back.as_list(), box.as_list(), units, strict=True):
        assert abs(value - expected) <= unit * (1.0001 if min(box.width, box.height) < 2 * max(units) else 0.5001)


boxes = st.builds(Box, *[st.floats(-1000, 1000)] * 4)


@given(boxes, boxes)
def test_iou_is_symmetric_and_bounded(first: Box, second: Box) -> None:
    assert 0 <= first.iou(second) <= 1 + 1e-9
    assert first.iou(second) == pytest.approx(second.iou(first))


@given(boxes, sizes)
def test_clipped_is_inside(box: Box, size: Size) -> None:
    part = box.clipped(size)
    assert part.clipped(size) == part
    assert part.area <= box.area + 1e-6 or box.area == 0
