"""A logged episode as one picture or one array: for TensorBoard, W&B, a page."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medeyes_verl.data.row import LETTERS
from medeyes_verl.evaluation.episode_log import LoggedEpisode
from medeyes_verl.gaze.crop import PixelBounds, crop_of, open_picture
from medeyes_verl.gaze.geometry import Box
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.gaze.tool import ToolFailedError, apply_tool, load_tools
from medeyes_verl.gaze.trace import TraceTurn
from medeyes_verl.report.annotated_image import RIGHT, WRONG, Panel, gaze_colour, numbered, sheet

CALL_CHARACTERS = 120
"""Of a call, as it is shown."""


def episode_array(episode: LoggedEpisode, settings: EpisodeSettings) -> NDArray[np.uint8]:
    """The figure as (height, width, 3) RGB, as loggers of images take it."""
    return np.asarray(episode_figure(episode, settings))


def episode_figure(episode: LoggedEpisode, settings: EpisodeSettings) -> Image.Image:
    """The first picture with all gazes on it, a panel a gaze or call with what the model saw, the answer and the truth.

    `settings` are those the episode was played with. Raises ValueError where a picture cannot be read.
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
    numbers = iter(range(1, len(gazes) + 1))
    panels = [
        _gaze(next(numbers), turn, originals, settings.crop)
        if turn.box is not None
        else _call(turn, originals, settings)
        for turn in episode.trace.turns
        if turn.box is not None or turn.call is not None
    ]
    return sheet(episode.question, [whole, *panels])


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


def _call(turn: TraceTurn, originals: Sequence[Image.Image], settings: EpisodeSettings) -> Panel:
    """What the policy said, the call of a tool, and the image it got for it."""
    original = originals[turn.image - 1]
    seen = observed(original, turn, settings)
    return Panel(
        title=call_words(turn),
        above=[f"“{turn.reasoning}”"],
        picture=seen if seen is not None else Image.new("RGB", (28, 28), "lightgrey"),
        below=[turn.feedback or ""],
        colour=(128, 128, 128),
    )


def observed(original: Image.Image, turn: TraceTurn, settings: EpisodeSettings) -> Image.Image | None:
    """The image that the call of a turn gave, made anew by its tool; None where it gave words alone.

    Raises ValueError where the tool is not there any more or does not take the call any more.
    """
    assert turn.call is not None
    tool = load_tools(settings.tools).get(turn.call.name)
    if tool is None:
        raise ValueError(
            f"the tool {turn.call.name} is not among episode.tools ({', '.join(settings.tools) or 'none'})"
        )
    try:
        return apply_tool(tool, original, turn.call, settings.crop).picture
    except ToolFailedError as error:
        raise ValueError(str(error)) from error


def call_words(turn: TraceTurn) -> str:
    """A call on one line: Contrast factor=2, image 2."""
    assert turn.call is not None
    arguments = ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in turn.call.arguments.items()
    )
    words = f"{turn.call.name} {arguments}" + (f", image {turn.image}" if turn.image > 1 else "")
    return words if len(words) <= CALL_CHARACTERS else words[: CALL_CHARACTERS - 1] + "…"


def verdict_lines(episode: LoggedEpisode) -> list[str]:
    """The last thought, the answer against the truth, and what was wrong with the form."""
    turns = episode.trace.turns
    last = turns[-1] if turns else None
    thought = last.reasoning if last is not None and last.box is None and last.call is None else ""
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
