"""A logged episode as one picture or one array: for TensorBoard, W&B, a page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medeyes_verl.data.row import LETTERS
from medeyes_verl.evaluation.episode_log import LoggedEpisode
from medeyes_verl.gaze.crop import PixelBounds, crop_of, open_picture
from medeyes_verl.gaze.geometry import Box
from medeyes_verl.gaze.trace import TraceTurn
from medeyes_verl.report.annotated_image import RIGHT, WRONG, Panel, gaze_colour, numbered, sheet


def episode_array(episode: LoggedEpisode, crop: PixelBounds) -> NDArray[np.uint8]:
    """The figure as (height, width, 3) RGB, as loggers of images take it."""
    return np.asarray(episode_figure(episode, crop))


def episode_figure(episode: LoggedEpisode, crop: PixelBounds) -> Image.Image:
    """The first picture with all gazes on it, a panel a gaze with the crop the model saw, the answer and the truth.

    `crop` are the bounds the episode was played with. Raises ValueError where a picture cannot be read.
    """
    originals = [open_picture(path) for path in episode.images]
    gazes = episode.trace.gazes
    boxes = [(number, turn.box) for number, turn in enumerate(gazes, 1) if turn.box is not None and turn.image == 1]
    right = episode.scores.acc == 1
    size = f"{originals[0].width}×{originals[0].height}"
    if episode.trace.view_sizes:
        size += f", seen as {episode.trace.view_sizes[0].width}×{episode.trace.view_sizes[0].height}"
    whole = Panel(
        title="right" if right else "wrong",
        above=[size],
        picture=numbered(originals[0], boxes),
        below=verdict_lines(episode),
        colour=RIGHT if right else WRONG,
    )
    return sheet(episode.question, [whole, *(_gaze(n, turn, originals, crop) for n, turn in enumerate(gazes, 1))])


def _gaze(number: int, turn: TraceTurn, originals: Sequence[Image.Image], crop: PixelBounds) -> Panel:
    """What the policy said, and the crop it got for it."""
    assert turn.box is not None
    return Panel(
        title=f"gaze {number}" + (f", image {turn.image}" if turn.image > 1 else ""),
        above=[f"“{turn.reasoning}”"],
        picture=crop_of(originals[turn.image - 1], turn.box, crop),
        below=[box_words(turn.box)],
        colour=gaze_colour(number),
    )


def verdict_lines(episode: LoggedEpisode) -> list[str]:
    """The last thought, the answer against the truth, and what was wrong with the form."""
    turns = episode.trace.turns
    thought = turns[-1].reasoning if turns and turns[-1].box is None else ""
    answer = episode.trace.answer
    lines = [f"“{thought}”"] if thought else []
    lines.append(f"answer: {answer}" if answer is not None else f"no answer ({episode.trace.finish.replace('_', ' ')})")
    lines.append(f"truth: {truth_in_words(episode.ground_truth, episode.question_type, episode.options)}")
    if episode.trace.faults:
        lines.append("faults: " + ", ".join(fault.value.replace("_", " ") for fault in episode.trace.faults))
    return lines


def truth_in_words(ground_truth: str, question_type: str, options: Sequence[str]) -> str:
    """The ground truth; for multiple choice the letter with the option's text."""
    if question_type != "multiple_choice" or ground_truth not in LETTERS[: len(options)]:
        return ground_truth
    return f"{ground_truth}. {options[LETTERS.index(ground_truth)]}"


def box_words(box: Box) -> str:
    """A box in whole pixels of the original."""
    x1, y1, x2, y2 = (round(edge) for edge in box.as_list())
    return f"x {x1}–{x2}, y {y1}–{y2}"
