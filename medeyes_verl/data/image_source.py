"""Where a picture lies before it is stored: in a file, in an archive, in a cell of a table.

A reference is small and can be sent to another process or machine; `read` fetches the encoded bytes there,
in place. Nothing is unpacked, and nothing larger than `MAX_PICTURE_BYTES` is read.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

MAX_PICTURE_BYTES = 256 * 2**20
"""A larger file, entry or cell is refused; the largest picture of the benchmarks has 20 MB."""
_CELLS_A_BATCH = 16


_POINTER = b"version https://git-lfs"


def is_pointer(head: bytes) -> bool:
    """Whether a file that begins so is git-lfs's note of a file that was not fetched."""
    return head.startswith(_POINTER)


class SourceError(Exception):
    """The source cannot be used as it is; the message says which file, what is wrong and what to do."""


def check_file(path: Path) -> Path:
    """The path of a file that can be opened; SourceError for one that is absent, empty or a git-lfs pointer."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_POINTER))
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror}); download it again") from error
    if not head:
        raise SourceError(f"{path} is empty; download it again")
    if is_pointer(head):
        raise SourceError(f"{path} is a git-lfs pointer, not the file itself; run `git lfs pull` in its repository")
    return path


def inside(name: str) -> str:
    """`name` with forward slashes, or a SourceError when it is absolute or climbs out of its source."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"^[A-Za-z]:", name):
        raise SourceError(f"the source names a picture outside itself: {name!r}; it is not to be trusted")
    return str(path)


@dataclass(frozen=True, slots=True)
class FilePicture:
    """A picture that is a file of its own."""

    path: str

    def __str__(self) -> str:
        return self.path

    def present(self) -> bool:
        return Path(self.path).is_file()

    def read(self) -> bytes:
        path = Path(self.path)
        if not path.is_file():
            raise ValueError(f"{self}: no such file")
        if path.stat().st_size > MAX_PICTURE_BYTES:
            raise ValueError(f"{self}: larger than {MAX_PICTURE_BYTES} bytes")
        data = path.read_bytes()
        if is_pointer(data):
            raise ValueError(f"{self}: a git-lfs pointer, not an image; run `git lfs pull` in its repository")
        return data


@dataclass(frozen=True, slots=True)
class ZipPicture:
    """A picture inside an archive, which is read in place."""

    archive: str
    entry: str

    def __str__(self) -> str:
        return f"{self.archive}:{self.entry}"

    def present(self) -> bool:
        return self.entry in entries(self.archive)

    def read(self) -> bytes:
        info = entries(self.archive).get(self.entry)
        if info is None:
            raise ValueError(f"{self}: no such entry")
        if info.file_size > MAX_PICTURE_BYTES:
            raise ValueError(f"{self}: larger than {MAX_PICTURE_BYTES} bytes")
        try:
            return open_zip(self.archive).read(info)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
            raise ValueError(f"{self}: damaged entry: {error}") from error


@dataclass(frozen=True, slots=True)
class CellPicture:
    """A picture in a cell of a parquet file: a column of encoded bytes, or of structs with the field `bytes`."""

    file: str
    row_group: int
    row: int
    column: str

    def __str__(self) -> str:
        return f"{self.file}: row {self.row} of row group {self.row_group}, column {self.column}"

    def present(self) -> bool:
        return True  # only reading the cell can tell

    def read(self) -> bytes:
        try:
            cell = _cells(self.file, self.row_group, self.column).at(self.row)
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"{self}: the file is damaged ({error}); download it again") from error
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(data, bytes):
            raise ValueError(f"{self}: holds no picture bytes")
        return data


PictureSource = FilePicture | ZipPicture | CellPicture


@lru_cache(maxsize=4)
def open_zip(path: str) -> zipfile.ZipFile:
    """An open archive, kept for the life of the process. Raises SourceError when it cannot be read."""
    try:
        return zipfile.ZipFile(check_file(Path(path)))
    except (OSError, zipfile.BadZipFile) as error:
        raise SourceError(f"{path} is not a readable zip archive ({error}); download it again") from error


@lru_cache(maxsize=4)
def entries(path: str) -> dict[str, zipfile.ZipInfo]:
    """The files in an archive by their path there; SourceError when one of them points outside."""
    return {inside(info.filename): info for info in open_zip(path).infolist() if not info.is_dir()}


class _Cells:
    """One column of one row group, read forward a few cells at a time."""

    def __init__(self, file: str, row_group: int, column: str) -> None:
        self._place = (file, row_group, column)
        self._restart()

    def _restart(self) -> None:
        file, row_group, column = self._place
        self._batches: Iterator[pa.RecordBatch] = pq.ParquetFile(file).iter_batches(
            _CELLS_A_BATCH, row_groups=[row_group], columns=[column]
        )
        self._start, self._batch = 0, next(self._batches)

    def at(self, row: int) -> object:
        if row < self._start:
            self._restart()
        while row >= self._start + len(self._batch):
            self._start += len(self._batch)
            self._batch = next(self._batches)
        return self._batch.column(0)[row - self._start].as_py()


_cells = lru_cache(maxsize=8)(_Cells)
