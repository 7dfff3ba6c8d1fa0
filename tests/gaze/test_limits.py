"""What a gaze may be, at and beyond each limit, and the words for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medeyes_verl.gaze.geometry import FRAMES, Box, Size, to_original
from medeyes_verl.gaze.grammar import FORM_SLIPS, TOOL_FAULTS, Fault
from medeyes_verl.gaze.limits import MESSAGES, GazeLimits, fault_message

# Shown at a quarter of its size.
QUARTER = GazeLimits("absolute", Size(112, 112), Size(448, 448), images=2, min_box_side=10, max_aspect_ratio=5)
# 1000 = 500 px of the original across, 250 px down.
RELATIVE = GazeLimits("relative_1000", Size(56, 28), Size(500, 250), images=1, min_box_side=10, max_aspect_ratio=5)


@pytest.mark.parametrize(
    ("limits", "box", "fault"),
    [
        (QUARTER, Box(14, 28, 42, 56), None),
        (QUARTER, Box(0, 0, 112, 112), None),
        (QUARTER, Box(10, 10, 10, 20), Fault.empty_box),
        (QUARTER, Box(10, 10, 20, 10), Fault.empty_box),
        (QUARTER, Box(10, 10, 10, 10), Fault.empty_box),
        (QUARTER, Box(20, 10, 10, 20), Fault.inverted_box),
        (QUARTER, Box(10, 20, 20, 10), Fault.inverted_box),
        (QUARTER, Box(20, 20, 10, 10), Fault.inverted_box),
        (QUARTER, Box(-1, 0, 20, 20), Fault.outside_box),
        (QUARTER, Box(0, -0.5, 20, 20), Fault.outside_box),
        (QUARTER, Box(90, 90, 113, 112), Fault.outside_box),
        (QUARTER, Box(90, 90, 112, 112.5), Fault.outside_box),
        (QUARTER, Box(500, 500, 600, 600), Fault.outside_box),
        (QUARTER, Box(0, 0, 2, 10), Fault.tiny_box),
        (QUARTER, Box(0, 0, 10, 2), Fault.tiny_box),
        (QUARTER, Box(0, 0, 3, 3), None),
        (QUARTER, Box(0, 0, 3, 15), None),
        (QUARTER, Box(0, 0, 3, 15.1), Fault.sliver_box),
        (QUARTER, Box(0, 0, 100, 10), Fault.sliver_box),
        # Limits hold in pixels of the original, not in the model's frame.
        (RELATIVE, Box(0, 0, 20, 40), None),
        (RELATIVE, Box(0, 0, 19, 40), Fault.tiny_box),
        (RELATIVE, Box(0, 0, 20, 39), Fault.tiny_box),
        (RELATIVE, Box(0, 0, 1000, 400), None),
        (RELATIVE, Box(0, 0, 1000, 399), Fault.sliver_box),
        (RELATIVE, Box(0, 0, 1001, 1000), Fault.outside_box),
    ],
)
def test_fault_of(limits: GazeLimits, box: Box, fault: Fault | None) -> None:
    assert limits.fault_of(box) == fault


def test_a_picture_smaller_than_the_smallest_box_can_be_looked_at_whole() -> None:
    limits = GazeLimits("absolute", Size(56, 56), Size(6, 7), images=1, min_box_side=8, max_aspect_ratio=10)
    assert limits.smallest_box == (56, 56)
    assert limits.fault_of(Box(0, 0, 56, 56)) is None
    assert limits.fault_of(Box(0, 0, 56, 55)) == Fault.tiny_box


def test_messages_say_what_is_allowed() -> None:
    assert fault_message(Fault.outside_box, QUARTER) == "Outside box. Write x from 0 to 112, y from 0 to 112."
    assert fault_message(Fault.outside_box, RELATIVE) == "Outside box. Write x from 0 to 1000, y from 0 to 1000."
    assert fault_message(Fault.tiny_box, QUARTER) == "Tiny box. Write x2 - x1 from 3, y2 - y1 from 3."
    assert fault_message(Fault.tiny_box, RELATIVE) == "Tiny box. Write x2 - x1 from 20, y2 - y1 from 40."
    assert fault_message(Fault.sliver_box, QUARTER) == "Sliver box. Write one side at most 5 times the other."
    assert fault_message(Fault.unknown_image, QUARTER) == "Unknown image. Write image from 1 to 2."
    assert (
        fault_message(Fault.malformed_action, QUARTER)
        == 'Malformed action. Write {"name": "Gaze", "coordinate": [x1, y1, x2, y2]}.'
    )


def test_every_fault_with_an_observation_has_words() -> None:
    assert set(MESSAGES) == set(Fault) - FORM_SLIPS - TOOL_FAULTS - {Fault.gaze_limit}
    words = [fault_message(fault, QUARTER) for fault in MESSAGES]
    assert len({text.split(".")[0] for text in words}) == len(words), "each fault is told apart by its first words"
    assert all(len(text) < 80 and "<" not in text for text in words)


sizes = st.builds(Size, st.integers(8, 3000), st.integers(8, 3000))


@given(st.sampled_from(FRAMES), sizes, sizes, st.floats(1, 50), st.integers(0, 3))
def test_the_smallest_box_named_in_words_is_accepted(frame, view, original, side, corner) -> None:
    limits = GazeLimits(frame, view, original, images=1, min_box_side=side, max_aspect_ratio=1e9)
    smallest, reach = limits.smallest_box, limits.frame_size
    x = 0 if corner % 2 else reach.width - smallest.width
    y = 0 if corner // 2 else reach.height - smallest.height
    assert limits.fault_of(Box(x, y, x + smallest.width, y + smallest.height)) is None


@given(frame=st.sampled_from(FRAMES), view=sizes, original=sizes, data=st.data())
def test_an_accepted_box_can_be_cut(frame, view, original, data) -> None:
    limits = GazeLimits(frame, view, original, images=1, min_box_side=1, max_aspect_ratio=100)
    edges = [sorted(data.draw(st.tuples(*[st.floats(-1, side + 1)] * 2))) for side in limits.frame_size]
    box = Box(edges[0][0], edges[1][0], edges[0][1], edges[1][1])
    if limits.fault_of(box) is None:
        cut = to_original(box, frame, view, original).snapped(original)
        assert max(cut.width, cut.height) <= 200 * min(cut.width, cut.height)
