"""Files of a source by their name, whether they lie in a folder or in an archive that nobody has unpacked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from medeyes_verl.data.picture_source import FilePicture, SourceError, ZipPicture, entries, inside

Place = Callable[[str], FilePicture | ZipPicture]


def place_of(folder: Path, folders: tuple[str, ...], archives: tuple[str, ...]) -> Place:
    """Where the pictures of a source are: the first of these sub-folders, else the first of these archives.

    When there is neither, pictures are looked for in the first sub-folder, and found missing by name.
    """
    for name in folders:
        if (folder / name).is_dir():
            return in_folder(folder / name)
    for name in archives:
        if (folder / name).is_file():
            return in_archive(folder / name)
    return in_folder(folder / folders[0])


def in_folder(folder: Path) -> Place:
    return lambda name: FilePicture(str(folder / inside(name)))


def in_archive(archive: Path) -> Place:
    """Entries by the end of their path, since archives differ in the folders they wrap around it."""
    known: dict[int, dict[str, str]] = {}

    def find(name: str) -> ZipPicture:
        parts = PurePosixPath(inside(name)).parts
        if len(parts) not in known:
            known[len(parts)] = {
                "/".join(PurePosixPath(entry).parts[-len(parts) :]): entry for entry in entries(str(archive))
            }
        tail = "/".join(parts)
        return ZipPicture(str(archive), known[len(parts)].get(tail, tail))

    return find


def read_json_list(path: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """A JSON file of questions with these keys; SourceError names what is wrong with any other."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SourceError(f"{path} is no readable JSON ({error}); download it again") from error
    return checked_list(found, path, keys)


def checked_list(found: object, path: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """What was read from `path`, if it is a list of objects with these keys; else SourceError."""
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise SourceError(f"{path} is not a list of questions")
    for number, entry in enumerate(found):
        lacking = [key for key in keys if key not in entry]
        if lacking:
            raise SourceError(f"{path}: entry {number} lacks {', '.join(lacking)}")
    return found
