"""A trajectory as a picture: where it looked, what it saw there, what it thought; as PNG and in a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont
from rich.text import Text

from medeyes_verl.expert.question import Question
from medeyes_verl.expert.trajectory import ExpertStep, Trajectory
from medeyes_verl.gaze.crop import crop_of, open_picture
from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.gaze.settings import EpisodeSettings

Colour = tuple[int, int, int]
PANEL = 280
"""Side of the square that holds a picture or a crop."""
CAPTION = 104
MARGIN = 12
COLOURS = ((240, 80, 60), (60, 140, 240), (40, 170, 90), (220, 150, 20), (150, 80, 200), (20, 170, 180))
"""One for each gaze, in order; the frame of its crop has the same."""
INK, PAPER, RIGHT, WRONG = (30, 30, 30), (255, 255, 255), (20, 130, 60), (200, 40, 30)


def draw_trajectory(
    question: Question, trajectory: Trajectory, settings: EpisodeSettings, walk: Mapping[str, Any] | None = None
) -> Image.Image:
    """The first picture with the gazes on it, then a panel a gaze: the crop as the policy gets it, and its turn.

    `walk` is the navigator's record of this trajectory, as the store keeps it. Raises ValueError where a picture
    cannot be read.
    """
    originals = [open_picture(path) for path in question.image_paths]
    panels: list[tuple[Image.Image | None, Colour, list[str]]] = []
    panels.append((_with_boxes(originals[0], trajectory.steps), INK, [question.text]))
    for number, step in enumerate(trajectory.steps):
        crop = crop_of(originals[step.image - 1], step.box, settings.crop)
        panels.append((crop, COLOURS[number % len(COLOURS)], _step_lines(number, step, walk)))
    verdict = "right" if trajectory.correct else f"wrong; ground truth: {question.ground_truth}"
    end = [trajectory.conclusion, f"→ {trajectory.answer} ({verdict})", f"[{trajectory.source}]"]
    if walk:
        end[-1] += f" stopped: {walk['stop']}"
    panels.append((None, RIGHT if trajectory.correct else WRONG, end))
    sheet = Image.new("RGB", (MARGIN + len(panels) * (PANEL + MARGIN), PANEL + CAPTION + 2 * MARGIN), PAPER)
    for place, (picture, colour, lines) in enumerate(panels):
        _draw_panel(sheet, MARGIN + place * (PANEL + MARGIN), picture, colour, lines)
    return sheet


def in_terminal(picture: Image.Image, columns: int = 72) -> Text:
    """A picture as coloured half blocks, two pixels a character."""
    rows = max(1, round(picture.height * columns / picture.width / 2)) * 2
    small = picture.convert("RGB").resize((columns, rows), Image.Resampling.BOX)
    pixels = list(zip(*[iter(small.tobytes())] * 3, strict=True))
    text = Text()
    for y in range(0, rows, 2):
        for x in range(columns):
            upper, lower = pixels[y * columns + x], pixels[(y + 1) * columns + x]
            text.append("▀", style=f"rgb({upper[0]},{upper[1]},{upper[2]}) on rgb({lower[0]},{lower[1]},{lower[2]})")
        text.append("\n")
    return text


def with_gazes(question: Question, trajectory: Trajectory) -> Image.Image:
    """The question's first picture with the numbered gazes on it."""
    return _with_boxes(open_picture(question.image_paths[0]), trajectory.steps)


def _with_boxes(original: Image.Image, steps: Sequence[ExpertStep]) -> Image.Image:
    scale = PANEL / max(original.size)
    picture = original.resize((max(1, round(original.width * scale)), max(1, round(original.height * scale))))
    pencil = ImageDraw.Draw(picture)
    for number, step in enumerate(steps):
        if step.image != 1:
            continue
        colour = COLOURS[number % len(COLOURS)]
        box = step.box.scaled(scale, scale)
        # Boxes on the border, and equal ones, are kept apart by a pixel each.
        edges = Box(box.x1 + number, box.y1 + number, box.x2 - 1 - number, box.y2 - 1 - number)
        pencil.rectangle(edges.clipped(Size(picture.width - 1, picture.height - 1)).as_list(), outline=colour, width=2)
        pencil.text((edges.x1 + 4 + 12 * number, edges.y1 + 3), str(number + 1), fill=colour, font=_font(14))
    return picture


def _step_lines(number: int, step: ExpertStep, walk: Mapping[str, Any] | None) -> list[str]:
    lines = [f"{number + 1}. {step.reasoning}"]
    decision = next((each for each in (walk or {}).get("decisions", ()) if each.get("gaze") == number), None)
    if decision is None:
        if step.confidence is not None:
            lines.append(f"c = {step.confidence:.2f}")
    elif decision["mode"] == "scan":
        lines.append("scan: c = " + ", ".join(f"{each:.2f}" for each in decision["candidates"]))
    elif "after" in decision:
        lines.append(f"drill: c {decision['before']:.2f} → {decision['after']:.2f}, Δc {decision['gain']:+.2f}")
    else:
        lines.append(f"look: c = {decision['before']:.2f}")
    return lines


def _draw_panel(
    sheet: Image.Image, left: int, picture: Image.Image | None, colour: Colour, lines: Sequence[str]
) -> None:
    pencil = ImageDraw.Draw(sheet)
    if picture is not None:
        scale = (PANEL - 6) / max(picture.size)
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        x, y = left + (PANEL - size[0]) // 2, MARGIN + (PANEL - size[1]) // 2
        pencil.rectangle((x - 3, y - 3, x + size[0] + 2, y + size[1] + 2), outline=colour, width=3)
        sheet.paste(picture.convert("RGB").resize(size), (x, y))
    top = MARGIN + PANEL + 6 if picture is not None else MARGIN + PANEL // 2 - 40
    wrapped = [piece for line in lines for piece in textwrap.wrap(line, 38)]
    for row, piece in enumerate(wrapped[: CAPTION // 17]):
        pencil.text((left, top + row * 17), piece, fill=INK if picture is not None else colour, font=_font(13))


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Pillow's own font has no Greek and no arrows; matplotlib brings one that has.
    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
