"""Pictures: reading them safely, and the two sizes of them a model sees, the view and the crop.

Both are brought to a size the model's own image processor leaves as it is, so that the pixels the policy sees
are decided here. A crop is always cut from the ORIGINAL: that is where the detail is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from os import PathLike
from typing import Annotated

import numpy as np
from PIL import Image, ImageOps

from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.settings.reader import Between, SettingError, check

MAX_ASPECT_RATIO = 200
"""Qwen's image processors refuse a picture longer than this many times its width."""
MAX_PICTURE_PIXELS = 64_000_000
"""A larger file is refused before it is decoded: 8000 × 8000, far above any benchmark's."""


@dataclass(frozen=True, slots=True)
class PixelBounds:
    """How large an image may be for the model."""

    min_pixels: Annotated[int, Between(1)] = 56 * 56
    """Fewest pixels; a smaller image is enlarged."""
    max_pixels: Annotated[int, Between(1)] = 336 * 336
    """Most pixels; a larger image is shrunk."""
    multiple: Annotated[int, Between(1)] = 28
    """Sides are multiples of this: patch size × merge size, 28 for Qwen2.5-VL, 32 for Qwen3-VL."""

    def __post_init__(self) -> None:
        check(self)
        if self.min_pixels > self.max_pixels:
            raise SettingError("min_pixels", str(self.min_pixels), f"use at most max_pixels={self.max_pixels}")


def fitted_size(size: Size, bounds: PixelBounds) -> Size:
    """The size to which Qwen2-VL's image processor would bring a picture (`smart_resize` in transformers).

    Sides are multiples of `bounds.multiple`, the area lies within the bounds, the aspect ratio is kept as far
    as that allows. Raises ValueError for an aspect ratio above 200.
    """
    width, height = size
    _check_aspect(size)
    step = bounds.multiple
    fitted = Size(round(width / step) * step, round(height / step) * step)
    if fitted.width * fitted.height > bounds.max_pixels:
        shrink = math.sqrt(width * height / bounds.max_pixels)
        return Size(*(max(step, math.floor(side / shrink / step) * step) for side in size))
    if fitted.width * fitted.height < bounds.min_pixels:
        grow = math.sqrt(bounds.min_pixels / (width * height))
        return Size(*(math.ceil(side * grow / step) * step for side in size))
    return fitted


def view_of(original: Image.Image, bounds: PixelBounds) -> Image.Image:
    """The whole picture as the model first sees it: RGB, resized (bicubic) to the fitted size."""
    return _fitted(original, bounds)


def crop_of(original: Image.Image, box: Box, bounds: PixelBounds) -> Image.Image:
    """A part of the original as the model sees it after a gaze: RGB, of the fitted size.

    `box` is in pixels of the original; its edges go to the nearest whole pixel. Where the cut already has the
    fitted size its pixels are those of the original. Raises ValueError for a sliver beyond the processor's
    aspect ratio.
    """
    x1, y1, x2, y2 = (int(edge) for edge in box.snapped(Size(*original.size)).as_list())
    return _fitted(original.crop((x1, y1, x2, y2)), bounds)


def _fitted(picture: Image.Image, bounds: PixelBounds) -> Image.Image:
    picture = picture.convert("RGB")
    size = fitted_size(Size(*picture.size), bounds)
    return picture if picture.size == size else picture.resize(size, Image.Resampling.BICUBIC)


def open_picture(path: str | PathLike[str]) -> Image.Image:
    """Read a picture from an untrusted file: RGB, upright by its EXIF tag, in memory.

    Transparency is laid on white. Pixels deeper than 8 bits (and floats) are windowed from their lowest to
    their highest value, since a plain conversion would saturate them. Raises ValueError naming the file when
    it is missing, damaged, no picture, larger than `MAX_PICTURE_PIXELS` or longer than the processor's aspect
    ratio.
    """
    try:
        with Image.open(path) as file:
            return usable_image(file)
    except Exception as error:  # Pillow's decoders raise many kinds of exception on damaged files
        raise ValueError(f"{path}: not usable as a picture: {error}") from error


def usable_image(image: Image.Image) -> Image.Image:
    """Bring an opened image into the form of `open_picture`: RGB, upright. Raises ValueError beyond its bounds."""
    size = Size(*image.size)
    if size.width * size.height > MAX_PICTURE_PIXELS:
        raise ValueError(f"{size.width}×{size.height} is more than {MAX_PICTURE_PIXELS} pixels")
    _check_aspect(size)
    return _as_rgb(ImageOps.exif_transpose(image))


def _check_aspect(size: Size) -> None:
    if max(size) > MAX_ASPECT_RATIO * min(size):
        raise ValueError(f"{size.width}×{size.height} is longer than {MAX_ASPECT_RATIO} times its other side")


def _as_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "F" or picture.mode.startswith("I"):
        return _windowed(picture).convert("RGB")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")


def _windowed(picture: Image.Image) -> Image.Image:
    """Deep grey values to 8 bits, lowest to 0 and highest to 255; NaN and infinities count as the lowest."""
    values = np.asarray(picture).astype(np.float64)
    finite = np.isfinite(values)
    low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0.0, 0.0)
    values = np.where(finite, values, low)
    return Image.fromarray(np.round((values - low) * (255 / max(high - low, 1e-12))).astype(np.uint8))
