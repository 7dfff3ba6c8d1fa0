"""The system message says the settings' own rules, and its examples are turns the grammar accepts."""

import re

from medeyes_verl.gaze.episode import EpisodeSettings
from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.gaze.grammar import parse_turn
from medeyes_verl.gaze.prompt import system_prompt


def test_the_examples_are_good_turns() -> None:
    text = system_prompt(EpisodeSettings(), [Size(336, 336), Size(448, 224)])
    examples = re.findall(r"<reasoning>[^<]+</reasoning>\n<(?:action|answer)>[^<]+</(?:action|answer)>", text)
    assert len(examples) == 2
    gaze, answer = map(parse_turn, examples)
    assert not gaze.faults
    assert gaze.box == Box(120, 80, 220, 180)
    assert not answer.faults
    assert answer.answer == "your answer"
    assert '"image": 2}</action>' in text


def test_the_frame_and_the_limits_are_named() -> None:
    absolute = system_prompt(EpisodeSettings(max_gazes=3), [Size(336, 252)])
    assert "up to 3 regions" in absolute
    assert "The image is 336 wide and 252 high." in absolute
    assert "1000" not in absolute
    assert '"image"' not in absolute
    relative = system_prompt(EpisodeSettings(frame="relative_1000"), [Size(336, 252)])
    assert "from 0 to 1000" in relative
    assert "336" not in relative
    several = system_prompt(EpisodeSettings(), [Size(336, 336), Size(448, 224)])
    assert "image 1: 336×336; image 2: 448×224" in several


def test_without_sizes_the_rules_still_stand() -> None:
    text = system_prompt(EpisodeSettings())
    assert "in pixels of the image as you see it" in text
    assert "wide" not in text
