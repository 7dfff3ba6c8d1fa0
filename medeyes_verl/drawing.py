"""What the policy looked at, as one picture: the whole view with numbered boxes, and a panel for each gaze.

Used wherever an episode must become pixels: figures of a training run, the terminal, a picture for a page.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

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
TEXT_SIZE = 14
LINE_HEIGHT = 19
LINE_CHARACTERS = 36
"""What fits under a picture at TEXT_SIZE in the font that Pillow carries."""
MOST_LINES = 9


@dataclass(frozen=True, slots=True)
class Panel:
    """One column of a sheet: a title, a picture and words under it."""

    title: str
    picture: Image.Image | None
    lines: Sequence[str]
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
    """Panels side by side under a heading, dark on white; as high as the longest text needs."""
    texts = [_wrapped(panel.lines) for panel in panels]
    width = MARGIN + len(panels) * (SIDE + MARGIN)
    head = textwrap.wrap(heading, LINE_CHARACTERS * len(panels))[:2]
    top = MARGIN + len(head) * (LINE_HEIGHT + 3) + 4
    bottom = top + TITLE_HEIGHT + SIDE + 8
    height = bottom + max((len(lines) for lines in texts), default=0) * LINE_HEIGHT + MARGIN
    paper = Image.new("RGB", (width, height), PAPER)
    pencil = ImageDraw.Draw(paper)
    for row, line in enumerate(head):
        pencil.text((MARGIN, MARGIN + row * (LINE_HEIGHT + 3)), line, fill=INK, font=_font(TEXT_SIZE + 2))
    for place, (panel, lines) in enumerate(zip(panels, texts, strict=True)):
        left = MARGIN + place * (SIDE + MARGIN)
        pencil.text((left, top), panel.title, fill=panel.colour, font=_font(TEXT_SIZE + 1))
        if panel.picture is not None:
            _place(paper, panel.picture, left, top + TITLE_HEIGHT, panel.colour)
        for row, line in enumerate(lines):
            pencil.text((left, bottom + row * LINE_HEIGHT), line, fill=INK, font=_font(TEXT_SIZE))
    return paper


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


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
