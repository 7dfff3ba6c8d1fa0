"""What the policy looked at, as one picture: the whole view with numbered boxes, and a panel for each gaze.

Used wherever an episode must become pixels: figures of a training run, the terminal, a picture for a page.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from medeyes_verl.gaze.geometry import Box, Size

Colour = tuple[int, int, int]
GAZE_COLOURS: tuple[Colour, ...] = (
    (214, 73, 51),
    (38, 115, 196),
    (30, 140, 86),
    (176, 112, 0),
    (133, 77, 178),
    (0, 135, 150),
)
"""One for each gaze, in order, and again from the first; readable on black and on white."""
CSS_COLOURS = tuple("#{:02x}{:02x}{:02x}".format(*colour) for colour in GAZE_COLOURS)
"""The same for a page."""
INK: Colour = (32, 33, 36)
PAPER: Colour = (255, 255, 255)
RIGHT: Colour = (21, 122, 62)
WRONG: Colour = (190, 38, 30)

SIDE = 264
"""Side of the square that holds a panel's picture."""
MARGIN = 14
TITLE_HEIGHT = 26
TEXT_SIZE = 13
LINE_HEIGHT = 19
LINE_CHARACTERS = 36
"""What fits under a picture at TEXT_SIZE in the font used here."""
MOST_LINES = 9


@dataclass(frozen=True, slots=True)
class Panel:
    """One column of a sheet, from top to bottom."""

    title: str
    above: Sequence[str]
    """What was said before the picture was seen."""
    picture: Image.Image
    below: Sequence[str]
    colour: Colour = INK
    """Of the title and of the picture's frame."""


def gaze_colour(number: int) -> Colour:
    """The colour of a gaze, counted from 1."""
    return GAZE_COLOURS[(number - 1) % len(GAZE_COLOURS)]


def numbered(original: Image.Image, boxes: Sequence[tuple[int, Box]], side: int = SIDE) -> Image.Image:
    """The picture with its longest side brought to `side`, and numbered boxes on it.

    `boxes` are (number, box in pixels of the original).
    """
    scale = side / max(original.size)
    picture = original.convert("RGB").resize(_scaled(original.size, scale), Image.Resampling.BICUBIC)
    pencil = ImageDraw.Draw(picture)
    for number, box in boxes:
        edges = box.scaled(scale, scale).clipped(Size(picture.width - 1, picture.height - 1)).as_list()
        pencil.rectangle(edges, outline=gaze_colour(number), width=3)
    for number, box in boxes:  # after all boxes, so that no line crosses a number
        corner = box.scaled(scale, scale).clipped(Size(picture.width - 18, picture.height - 18))
        # equal boxes would hide each other's numbers
        left = corner.x1 + 19 * sum(other == box for earlier, other in boxes if earlier < number)
        pencil.rectangle((left, corner.y1, left + 17, corner.y1 + 17), fill=gaze_colour(number))
        pencil.text((left + 9, corner.y1 + 9), str(number), fill=PAPER, font=_font(TEXT_SIZE), anchor="mm")
    return picture


def sheet(heading: str, panels: Sequence[Panel]) -> Image.Image:
    """At least one panel, side by side under a heading, dark on white; as high as the longest texts need."""
    above, below = [
        [_wrapped(lines) for lines in column] for column in zip(*((p.above, p.below) for p in panels), strict=True)
    ]
    head = textwrap.wrap(heading, LINE_CHARACTERS * len(panels))[:2]
    titles = MARGIN + len(head) * (LINE_HEIGHT + 3) + 6
    words = titles + TITLE_HEIGHT
    pictures = words + max(map(len, above)) * LINE_HEIGHT + 6
    end = pictures + SIDE + 8
    size = MARGIN + len(panels) * (SIDE + MARGIN), end + max(map(len, below)) * LINE_HEIGHT + MARGIN
    paper = Image.new("RGB", size, PAPER)
    pencil = ImageDraw.Draw(paper)
    _write(pencil, MARGIN, MARGIN, head, TEXT_SIZE + 3, LINE_HEIGHT + 3)
    for place, panel in enumerate(panels):
        left = MARGIN + place * (SIDE + MARGIN)
        pencil.text((left, titles), panel.title, fill=panel.colour, font=_font(TEXT_SIZE + 1))
        _write(pencil, left, words, above[place])
        _place(paper, panel.picture, left, pictures, panel.colour)
        _write(pencil, left, end, below[place])
    return paper


def _write(
    pencil: ImageDraw.ImageDraw,
    left: int,
    top: int,
    lines: Sequence[str],
    size: int = TEXT_SIZE,
    step: int = LINE_HEIGHT,
) -> None:
    for row, line in enumerate(lines):
        pencil.text((left, top + row * step), line, fill=INK, font=_font(size))


def _place(paper: Image.Image, picture: Image.Image, left: int, top: int, colour: Colour) -> None:
    """Fit a picture into a panel's square, at the top left, with a frame."""
    inner = SIDE - 6
    shown = picture.convert("RGB").resize(_scaled(picture.size, inner / max(picture.size)), Image.Resampling.BICUBIC)
    frame = (left, top, left + shown.width + 5, top + shown.height + 5)
    ImageDraw.Draw(paper).rectangle(frame, outline=colour, width=3)
    paper.paste(shown, (left + 3, top + 3))


def _wrapped(lines: Sequence[str]) -> list[str]:
    wrapped = [piece for line in lines for piece in textwrap.wrap(line, LINE_CHARACTERS)]
    return wrapped if len(wrapped) <= MOST_LINES else [*wrapped[: MOST_LINES - 1], "…"]


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib carries: the font in Pillow has no ×, no – and no Greek."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
