"""The episode: every fault gets its observation and the game goes on; gazes, modes, limits and the record."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medeyes_verl.gaze.crop import PixelBounds
from medeyes_verl.gaze.episode import Episode, EpisodeSettings
from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.gaze.grammar import Fault, parse_turn
from medeyes_verl.gaze.trace import EpisodeTrace, TraceTurn
from medeyes_verl.settings.reader import read

TINY = PixelBounds(56 * 56, 112 * 112)
SETTINGS = EpisodeSettings(view=TINY, crop=TINY, min_box_side=8, max_aspect_ratio=10)
PICTURE = Image.fromarray(np.random.default_rng(3).integers(0, 256, (448, 448, 3), dtype=np.uint8))
THOUGHT = "<reasoning>look</reasoning>\n"
ANSWER = THOUGHT + "<answer>ring</answer>"


def gaze(*box: float, image: int = 1) -> str:
    return f'{THOUGHT}<action>{{"name": "Gaze", "coordinate": {list(box)}, "image": {image}}}</action>'


GOOD = gaze(14, 28, 42, 56)


def test_a_gaze_then_an_answer() -> None:
    episode = Episode([PICTURE], SETTINGS)
    assert [view.size for view in episode.views] == [(112, 112)]
    observation = episode.reply(GOOD)
    assert observation is not None
    assert observation.text == ""
    np.testing.assert_array_equal(np.asarray(observation.picture), np.asarray(PICTURE)[112:224, 56:168])
    assert not episode.over
    assert episode.reply(ANSWER) is None
    assert episode.over
    assert episode.trace == EpisodeTrace(
        turns=(
            TraceTurn(GOOD, "look", "", Box(56, 112, 168, 224), 1, "drill"),
            TraceTurn(ANSWER, "look", None),
        ),
        answer="ring",
        finish="answered",
        image_sizes=(Size(448, 448),),
        view_sizes=(Size(112, 112),),
    )
    assert episode.trace.well_formed


@pytest.mark.parametrize(
    ("text", "fault", "words"),
    [
        ("hm", Fault.no_action_or_answer, "Nothing done"),
        (THOUGHT, Fault.no_action_or_answer, "Nothing done"),
        (THOUGHT + "<answer>ring", Fault.unclosed_tag, "Open tag"),
        (GOOD + GOOD, Fault.two_actions, "Two actions"),
        (GOOD + "<answer>ring</answer>", Fault.answer_beside_action, "Action and answer"),
        (THOUGHT + "<answer>ring</answer>" + GOOD, Fault.answer_beside_action, "Action and answer"),
        (THOUGHT + "<action>{}</action>", Fault.malformed_action, "Malformed action"),
        (gaze(1, 2, 3), Fault.malformed_action, "Malformed action"),
        (GOOD.replace("Gaze", "Zoom"), Fault.unknown_tool, "Unknown tool"),
        (THOUGHT + "<answer> </answer>", Fault.empty_answer, "Empty answer"),
        (gaze(14, 14, 14, 14), Fault.empty_box, "Empty box"),
        (gaze(42, 14, 14, 42), Fault.inverted_box, "Inverted box"),
        (gaze(100, 100, 120, 120), Fault.outside_box, "x from 0 to 112, y from 0 to 112"),
        (gaze(0, 0, 1, 1), Fault.tiny_box, "x2 - x1 from 2, y2 - y1 from 2"),
        (gaze(0, 0, 100, 5), Fault.sliver_box, "at most 10 times"),
        (gaze(14, 14, 42, 42, image=2), Fault.unknown_image, "image from 1 to 1"),
        (gaze(14, 14, 42, 42, image=0), Fault.unknown_image, "image from 1 to 1"),
    ],
)
def test_a_fault_is_answered_and_the_episode_goes_on(text: str, fault: Fault, words: str) -> None:
    episode = Episode([PICTURE], SETTINGS)
    observation = episode.reply(text)
    assert observation is not None
    assert words in observation.text
    assert observation.picture is None
    again = episode.reply(GOOD)
    assert again is not None
    assert again.picture is not None
    assert episode.reply(ANSWER) is None
    record = episode.trace
    assert fault in record.faults
    assert not record.well_formed
    assert (record.answer, record.finish, record.num_turns, len(record.boxes)) == ("ring", "answered", 3, 1)


@pytest.mark.parametrize(
    ("text", "fault"), [(GOOD.removeprefix(THOUGHT), Fault.missing_reasoning), ("so " + GOOD, Fault.text_outside_tags)]
)
def test_a_slip_of_form_does_not_stop_the_gaze(text: str, fault: Fault) -> None:
    episode = Episode([PICTURE], SETTINGS)
    observation = episode.reply(text)
    assert observation is not None
    assert observation.picture is not None
    episode.reply(ANSWER)
    assert episode.trace.faults == (fault,)
    assert not episode.trace.well_formed


def test_a_slip_of_form_does_not_stop_the_answer() -> None:
    episode = Episode([PICTURE], SETTINGS)
    assert episode.reply("<answer>ring</answer>") is None
    record = episode.trace
    assert (record.answer, record.finish, record.faults, record.well_formed) == (
        "ring",
        "answered",
        (Fault.missing_reasoning,),
        False,
    )


@pytest.mark.parametrize("use", [GOOD, "nonsense", gaze(0, 0, 1, 1)])
def test_gazes_and_faults_use_up_the_same_limit(use: str) -> None:
    episode = Episode([PICTURE], EpisodeSettings(max_gazes=3, view=TINY, crop=TINY))
    for _ in range(3):
        assert episode.reply(use) is not None
    assert episode.reply(ANSWER) is None
    assert episode.trace.finish == "answered"
    assert episode.trace.num_turns == 4


def test_a_gaze_too_many_ends_the_episode_without_an_answer() -> None:
    episode = Episode([PICTURE], EpisodeSettings(max_gazes=1, view=TINY, crop=TINY))
    episode.reply(GOOD)
    assert episode.reply(GOOD) is None
    record = episode.trace
    assert (record.finish, record.answer, record.faults) == ("gaze_limit", None, (Fault.gaze_limit,))
    assert len(record.boxes) == 1, "the gaze too many is not carried out"


def test_nonsense_in_the_last_turn_ends_the_episode_too() -> None:
    episode = Episode([PICTURE], EpisodeSettings(max_gazes=0, view=TINY, crop=TINY))
    assert episode.reply(GOOD + "<answer>ring</answer>") is None
    record = episode.trace
    assert (record.finish, record.answer, record.faults) == ("gaze_limit", None, (Fault.answer_beside_action,))


def test_truncation() -> None:
    episode = Episode([PICTURE], SETTINGS)
    episode.reply(GOOD)
    episode.truncate()
    record = episode.trace
    assert (record.finish, record.answer, record.faults, record.well_formed) == ("truncated", None, (), False)
    assert len(record.boxes) == 1


def test_misuse_is_an_error() -> None:
    episode = Episode([PICTURE], SETTINGS)
    with pytest.raises(RuntimeError, match="not over"):
        _ = episode.trace
    episode.reply(ANSWER)
    with pytest.raises(RuntimeError, match="already over"):
        episode.reply(ANSWER)
    with pytest.raises(RuntimeError, match="already over"):
        episode.truncate()
    with pytest.raises(ValueError, match="at least one picture"):
        Episode([], SETTINGS)


@pytest.mark.parametrize(
    ("boxes", "modes"),
    [
        ([(0, 0, 112, 112)], ["scan"]),
        ([(0, 0, 112, 56)], ["scan"]),
        ([(0, 0, 112, 55)], ["drill"]),
        # In, further in, out again, in again; the same size once more is no widening.
        ([(0, 0, 60, 60), (0, 0, 28, 28), (28, 28, 60, 60), (0, 0, 28, 28)], ["drill", "drill", "scan", "drill"]),
        ([(0, 0, 28, 28), (28, 28, 56, 56)], ["drill", "drill"]),
        # A refused box is no last view.
        ([(0, 0, 28, 28), (0, 0, 1, 1), (28, 28, 56, 56)], ["drill", "drill"]),
    ],
)
def test_modes(boxes: list[tuple[int, ...]], modes: list[str]) -> None:
    episode = Episode([PICTURE], SETTINGS)
    for box in boxes:
        episode.reply(gaze(*box))
    episode.reply(ANSWER)
    assert list(episode.trace.modes) == modes


def test_several_pictures_each_with_its_own_frame() -> None:
    wide = Image.fromarray(np.random.default_rng(4).integers(0, 256, (280, 560, 3), dtype=np.uint8))
    episode = Episode([PICTURE, wide], SETTINGS)
    assert [view.size for view in episode.views] == [(112, 112), (140, 56)]
    first = episode.reply(gaze(0, 0, 28, 28))
    second = episode.reply(gaze(112, 28, 140, 56, image=2))
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(np.asarray(first.picture), np.asarray(PICTURE)[:112, :112])
    # 560 px are 140 across, 280 px are 56 down.
    cut = wide.crop((448, 140, 560, 280))
    assert second.picture is not None
    np.testing.assert_array_equal(
        np.asarray(second.picture), np.asarray(cut.resize(second.picture.size, Image.Resampling.BICUBIC))
    )
    outside = episode.reply(gaze(112, 56, 140, 84, image=2))
    assert outside is not None
    assert outside.text == "Outside box. Write x from 0 to 140, y from 0 to 56."
    unknown = episode.reply(gaze(0, 0, 28, 28, image=3))
    assert unknown is not None
    assert unknown.text == "Unknown image. Write image from 1 to 2."
    episode.reply(ANSWER)
    assert episode.trace.images == (1, 2)
    assert episode.trace.boxes[1].as_list() == [448, 140, 560, 280]


def test_the_relative_frame() -> None:
    episode = Episode([PICTURE], EpisodeSettings(frame="relative_1000", view=TINY, crop=TINY))
    observation = episode.reply(gaze(250, 500, 500, 750))
    assert observation is not None
    np.testing.assert_array_equal(np.asarray(observation.picture), np.asarray(PICTURE)[224:336, 112:224])


@given(
    st.lists(st.sampled_from([GOOD, "x", gaze(0, 0, 112, 112), gaze(1, 1, 1, 1), GOOD + ANSWER, ANSWER]), max_size=8)
)
def test_the_record_survives_json(turns: list[str]) -> None:
    episode = Episode([PICTURE], SETTINGS)
    for text in turns:
        if not episode.over:
            episode.reply(text)
    if not episode.over:
        episode.truncate()
    record = episode.trace
    assert EpisodeTrace.from_dict(json.loads(json.dumps(record.as_dict()))) == record
    assert len(record.boxes) == len(record.images) == len(record.modes)


actions = st.builds(
    lambda box, image: gaze(*box, image=image), st.tuples(*[st.floats(-50, 200)] * 4), st.integers(-1, 3)
)


@given(st.lists(actions | st.text(max_size=20), min_size=5, max_size=5))
def test_no_text_raises_and_the_episode_always_ends(turns: list[str]) -> None:
    episode = Episode([PICTURE, PICTURE.resize((300, 90))], SETTINGS)
    for number, text in enumerate(turns):
        observation = episode.reply(text)
        assert (observation is None) == (number == 4 or parse_turn(text).answer is not None)
        if observation is None:
            break
        assert (observation.picture is None) == bool(observation.text)
    assert episode.over
    for box, image in zip(episode.trace.boxes, episode.trace.images, strict=True):
        width, height = (448, 448) if image == 1 else (300, 90)
        assert 0 <= box.x1 < box.x2 <= width
        assert 0 <= box.y1 < box.y2 <= height


def test_settings_from_a_mapping() -> None:
    mapping = {"frame": "relative_1000", "max_gazes": 2, "view": {"max_pixels": 12544}, "crop": {"multiple": 32}}
    assert read(EpisodeSettings, mapping) == EpisodeSettings(
        frame="relative_1000", max_gazes=2, view=PixelBounds(max_pixels=12544), crop=PixelBounds(multiple=32)
    )
    assert read(EpisodeSettings, {}) == EpisodeSettings()


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"max_gaze": 2}, "max_gaze=2: there is no such key; did you mean max_gazes.* Known keys: frame, max_gazes"),
        ({"view": {"max": 2}}, "view.max=2: there is no such key; known keys: min_pixels"),
        ({"view": 7}, "view=7: use a mapping with the keys min_pixels, max_pixels"),
        ({"frame": "pixels"}, "frame='pixels': use one of absolute, relative_1000"),
        ({"max_gazes": -1}, "max_gazes=-1: use a whole number from 0 to 100"),
        ({"max_gazes": "four"}, "max_gazes='four': use a whole number"),
        ({"max_gazes": 2.5}, "max_gazes=2.5: use a whole number"),
        ({"max_gazes": True}, "max_gazes=true: use a whole number"),
        ({"min_box_side": 0}, "min_box_side=0: use a number from 1 to 10000"),
        ({"max_aspect_ratio": 500}, "max_aspect_ratio=500: use a number from 1 to 100"),
        ({"scan_coverage": None}, "scan_coverage=null: use a number from 0 to 1"),
        ({"scan_coverage": float("nan")}, "scan_coverage=nan: use a number from 0 to 1"),
        ({"crop": {"min_pixels": 10, "max_pixels": 5}}, "crop.min_pixels=10: use at most max_pixels=5"),
    ],
)
def test_wrong_settings_are_named(mapping: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(EpisodeSettings, mapping)
