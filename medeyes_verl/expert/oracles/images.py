"""A question's pictures on their way to a remote expert: cut from the original, sized, encoded, named by content."""

from __future__ import annotations

import base64
import io
from functools import lru_cache

from PIL import Image

from medeyes_verl.expert.oracles.region_book import digest_of_picture
from medeyes_verl.gaze.crop import PixelBounds, crop_of, fitted_size, open_picture, view_of
from medeyes_verl.gaze.geometry import Box, Size

JPEG_QUALITY = 95


def key_of_picture(path: str, box: Box | None, bounds: PixelBounds) -> str:
    """What a picture sent depends on: the content of its file, the part that was cut, and the size."""
    part = "whole" if box is None else ",".join(f"{side:g}" for side in box.as_list())
    return f"{digest_of_picture(path)}/{part}/{bounds.min_pixels}-{bounds.max_pixels}-{bounds.multiple}"


def shown_size(original: Size, box: Box | None, bounds: PixelBounds) -> Size:
    """The size in which a picture, or the part of it in `box`, is sent."""
    if box is None:
        return fitted_size(original, bounds)
    cut = box.snapped(original)
    return fitted_size(Size(round(cut.width), round(cut.height)), bounds)


@lru_cache(maxsize=256)
def encoded(path: str, box: Box | None, bounds: PixelBounds, form: str) -> str:
    """The picture, or the part of it in `box`, as base64 ("JPEG" or "PNG"). Raises ValueError when it is unreadable.

    The whole picture goes with most requests about a question, and is prepared once.
    """
    original = _opened(path)
    picture = view_of(original, bounds) if box is None else crop_of(original, box, bounds)
    buffer = io.BytesIO()
    picture.save(buffer, format=form, quality=JPEG_QUALITY)
    return base64.b64encode(buffer.getvalue()).decode()


@lru_cache(maxsize=32)
def _opened(path: str) -> Image.Image:
    """One question's picture is cut several times in a row."""
    return open_picture(path)
