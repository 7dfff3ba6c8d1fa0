"""Pictures on disk, each distinct one once, named by its content.

`<root>/images/<first 2 hex>/<sha256>.<jpg|png>`. An upright 8-bit grey or colour JPEG or PNG is kept byte
for byte, so nothing is lost and nothing grows; any other picture (CMYK, palette, alpha, 16-bit, DICOM,
turned by EXIF, another format) is written once as the RGB PNG that every reader would otherwise have to
derive. The name is the digest of what the source held, so a picture met again costs one hash and one look
at the folder.
"""

from __future__ import annotations

import hashlib
import io
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from medeyes_verl.data.atomic import write_bytes
from medeyes_verl.data.dicom import dicom_as_png, is_dicom
from medeyes_verl.gaze.crop import MAX_ASPECT_RATIO, MAX_PICTURE_PIXELS, open_picture
from medeyes_verl.gaze.geometry import Size

IMAGE_FOLDER = "images"
_KEPT_FORMATS = {"JPEG": "jpg", "PNG": "png"}
_KEPT_MODES = ("RGB", "L")
_ORIENTATION_TAG = 0x0112
_UPRIGHT = (None, 1)


class StoredPicture(NamedTuple):
    """A picture in the store: its absolute path, and its size in pixels."""

    path: str
    size: Size


def picture_path(root: Path, name: str) -> Path:
    """Where the store at `root` keeps the picture of this file name."""
    return root / IMAGE_FOLDER / name[:2] / name


class ImageStore:
    """Writes pictures under `root/images`. Many processes may write to the same root at once.

    A picture that is already there is recognised by its name; no list of them is held in memory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def add_file(self, path: Path) -> StoredPicture:
        """Stores a picture file. Raises ValueError naming it when it is missing or no usable picture."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ValueError(f"{path}: not usable as a picture: {error.strerror}") from error
        return self.add_bytes(data, str(path))

    def add_bytes(self, data: bytes, name: str) -> StoredPicture:
        """Stores an encoded picture, e.g. the cell of a table or the entry of an archive.

        It is decoded in full before it is accepted. Raises ValueError with `name` when that fails.
        """
        digest = hashlib.sha256(data).hexdigest()
        known = self._known(digest)
        if known:
            return known
        if kept := _kept(data):
            return self._write(digest, kept.suffix, data, kept.size)
        try:
            picture = _decoded(dicom_as_png(data) if is_dicom(data) else data)
        except ValueError as error:
            raise ValueError(f"{name}: not usable as a picture: {error}") from error
        return self._write(digest, "png", _as_png(picture), Size(*picture.size))

    def add_image(self, image: Image.Image) -> StoredPicture:
        """Stores a picture made in memory as an RGB PNG, named by its pixels."""
        picture = image.convert("RGB")
        digest = hashlib.sha256(f"RGB {picture.width}x{picture.height} ".encode() + picture.tobytes()).hexdigest()
        return self._known(digest) or self._write(digest, "png", _as_png(picture), Size(*picture.size))

    def _known(self, digest: str) -> StoredPicture | None:
        for suffix in _KEPT_FORMATS.values():
            path = picture_path(self.root, f"{digest}.{suffix}")
            if path.exists():
                return StoredPicture(str(path), _size(str(path)))
        return None

    def _write(self, digest: str, suffix: str, data: bytes, size: Size) -> StoredPicture:
        path = picture_path(self.root, f"{digest}.{suffix}")
        write_bytes(path, data)
        return StoredPicture(str(path), size)


def _decoded(data: bytes) -> Image.Image:
    try:
        return open_picture(io.BytesIO(data))  # type: ignore[arg-type]  # a file object serves as well
    except ValueError as error:
        cause = error.__cause__  # the error itself names the buffer, which nobody knows
        unknown = isinstance(cause, UnidentifiedImageError)
        raise ValueError("no known image format" if unknown else str(cause)) from error


class _Kept(NamedTuple):
    suffix: str
    size: Size


def _kept(data: bytes) -> _Kept | None:
    """How an encoded picture can stay as it is; None when it has to be converted, or is none.

    It is read to its end, but a JPEG at an eighth of its size: that is enough to find it whole, and three times faster.
    """
    try:
        with Image.open(io.BytesIO(data)) as header:
            size, suffix = Size(*header.size), _KEPT_FORMATS.get(header.format or "")
            plain = header.mode in _KEPT_MODES and not header.has_transparency_data
            upright = header.getexif().get(_ORIENTATION_TAG) in _UPRIGHT
            bounded = size.width * size.height <= MAX_PICTURE_PIXELS and max(size) <= MAX_ASPECT_RATIO * min(size)
            if not (suffix and plain and upright and bounded):
                return None
            header.draft("L", (size.width // 8, size.height // 8))
            header.load()
            return _Kept(suffix, size)
    except Exception:  # whatever it is, reading it in earnest says what is wrong
        return None


@lru_cache(maxsize=8192)
def _size(path: str) -> Size:
    with Image.open(path) as header:
        return Size(*header.size)


def _as_png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
