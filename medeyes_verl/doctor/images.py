"""The images of a table: are they there, can they be read, and how large are they?"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from medeyes_verl.doctor.check import Faults
from medeyes_verl.gaze.crop import MAX_ASPECT_RATIO, MAX_PICTURE_PIXELS, open_picture
from medeyes_verl.gaze.geometry import Size

DECODED = 1000
"""So many distinct images are decoded whole; of the others only the header is read, so that a large table is quick."""
_ORIENTATION = 0x0112
_TURNED = frozenset({5, 6, 7, 8})
"""EXIF orientations that exchange width and height."""


@dataclass(slots=True)
class Images:
    """Reads each distinct image once and remembers its upright size."""

    root: Path | None
    """Where relative paths begin; None: they must be absolute."""
    faults: Faults = field(default_factory=lambda: Faults("images"))
    seen: int = 0
    relative: int = 0
    """Paths that are relative although nothing says where they begin."""
    _sizes: dict[str, Size | None] = field(default_factory=dict)

    def size(self, image: Any, row: str) -> Size | None:
        """The size of a cell of the column `images`; None where it cannot be read, which is counted once an image."""
        if isinstance(image, dict) and image.get("bytes") is None:
            image = image.get("path")
        if isinstance(image, dict):
            return self._read(image["bytes"], f"{row}, image in the table")
        if not isinstance(image, str) or not image:
            self.faults.add(f"{row}: {image!r} is no path")
            return None
        if image not in self._sizes:
            self._sizes[image] = self._read_file(image, row)
        return self._sizes[image]

    def told(self) -> str:
        """What was read, in words."""
        decoded = min(self.seen, DECODED)
        others = f", the headers of the other {self.seen - decoded}" if self.seen > decoded else ""
        return f"{self.seen} images, {decoded} decoded{others}"

    def _read_file(self, image: str, row: str) -> Size | None:
        path = Path(image)
        if not path.is_absolute():
            if self.root is None:
                self.relative += 1
                self.faults.add(f"{row}: {image} is relative, and data.medeyes.image_root is not set")
                return None
            path = self.root / path
        return self._read(path, row)

    def _read(self, source: Path | bytes, row: str) -> Size | None:
        self.seen += 1
        try:
            if isinstance(source, Path) and self.seen <= DECODED:
                return Size(*open_picture(source).size)
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
                if file.width * file.height > MAX_PICTURE_PIXELS or max(file.size) > MAX_ASPECT_RATIO * min(file.size):
                    raise ValueError(f"{file.width}×{file.height} is too large or too long")
                turned = file.getexif().get(_ORIENTATION) in _TURNED
                if self.seen <= DECODED:
                    file.load()
                return Size(file.height, file.width) if turned else Size(file.width, file.height)
        except Exception as error:  # Pillow's decoders raise many kinds of exception on damaged files
            self.faults.add(f"{row}: {error}")
            return None


class SizeOnlyImage(Image.Image):
    """An image with a size and without pixels.

    An episode's facts (boxes, faults, tokens, reward) depend on the sizes of its images alone, so trajectories are
    played over these in a thousandth of the time that resizing radiographs takes. To touch a pixel is an error.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self._size = (size.width, size.height)
        self._mode = "RGB"

    def convert(self, *_: Any, **__: Any) -> SizeOnlyImage:
        return self

    def crop(self, box: tuple[float, float, float, float] | None = None) -> SizeOnlyImage:
        x1, y1, x2, y2 = (0, 0, *self.size) if box is None else (int(edge) for edge in box)
        return SizeOnlyImage(Size(x2 - x1, y2 - y1))

    def resize(self, size: Any, *_: Any, **__: Any) -> SizeOnlyImage:
        return SizeOnlyImage(Size(*size))
