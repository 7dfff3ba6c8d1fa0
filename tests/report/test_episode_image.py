"""The figure of an episode: an RGB array with the gazes where they were."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medeyes_verl.data.row import read_rows
from medeyes_verl.evaluation.episode_log import LoggedEpisode
from medeyes_verl.evaluation.player import play_texts
from medeyes_verl.evaluation.recipe import Recipe
from medeyes_verl.gaze.geometry import Box
from medeyes_verl.report.annotated_image import GAZE_COLOURS, MARGIN, SIDE, numbered
from medeyes_verl.report.episode_image import episode_array, episode_figure, truth_in_words, verdict_lines

GAZE = '<reasoning>look</reasoning>\n<action>{{"name": "Gaze", "coordinate": {}}}</action>'
ANSWER = "<reasoning>seen</reasoning>\n<answer>yes</answer>"


def _played(table: Path, recipe: Recipe, *texts: str) -> LoggedEpisode:
    return asyncio.run(play_texts(next(read_rows(table)), recipe, texts, "test", "on_policy"))


def test_a_panel_for_the_image_and_one_for_each_gaze(table: Path, recipe: Recipe) -> None:
    looks = [GAZE.format(box) for box in ("[0, 0, 56, 56]", "[56, 56, 112, 112]")]
    array = episode_array(_played(table, recipe, *looks, ANSWER), recipe.rules)
    assert array.dtype == np.uint8
    assert array.shape[1:] == (MARGIN + 3 * (SIDE + MARGIN), 3)
    for colour in GAZE_COLOURS[:2]:
        assert (array == colour).all(axis=2).any()
    assert not (array == GAZE_COLOURS[2]).all(axis=2).any()


def test_an_episode_without_gaze_or_answer_is_drawn_too(table: Path, recipe: Recipe) -> None:
    episode = _played(table, recipe, "no tags")
    assert episode_figure(episode, recipe.rules).width == MARGIN + SIDE + MARGIN
    assert verdict_lines(episode)[0] == "no answer (truncated)"
    assert verdict_lines(episode)[2].startswith("faults: missing reasoning")


def test_boxes_are_drawn_where_they_are() -> None:
    drawn = np.asarray(numbered(Image.new("RGB", (200, 100)), [(2, Box(50, 25, 150, 75))], side=400))
    assert drawn.shape == (200, 400, 3)
    rows, columns = np.nonzero((drawn == GAZE_COLOURS[1]).all(axis=2))
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (100, 50, 300, 150)


def test_equal_boxes_keep_their_numbers_apart() -> None:
    box = Box(10, 10, 90, 90)
    drawn = np.asarray(numbered(Image.new("RGB", (100, 100)), [(1, box), (2, box)], side=400))
    assert (drawn == GAZE_COLOURS[0]).all(axis=2).sum() > 100


@pytest.mark.parametrize(
    ("truth", "kind", "options", "words"),
    [
        ("ring", "open", (), "ring"),
        ("B", "multiple_choice", ("bar", "ring"), "B. ring"),
        ("C", "multiple_choice", ("bar", "ring"), "C"),
        ("B", "open", (), "B"),
    ],
)
def test_truth_in_words(truth: str, kind: str, options: tuple[str, ...], words: str) -> None:
    assert truth_in_words(truth, kind, options) == words
