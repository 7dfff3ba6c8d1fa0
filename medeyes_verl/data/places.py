"""Files of a source by their name, whether they lie in a folder or in an archive that nobody has unpacked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from medeyes_verl.data.image_source import FilePicture, SourceError, ZipPicture, check_file, entries, inside
from medeyes_verl.data.shards import Table

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


def only_place(places: Sequence[Path], what: str) -> Path | None:
    """The one of these files or folders that is there, None for none; SourceError where there are two."""
    there = [place for place in places if place.exists()]
    if len(there) > 1:
        raise SourceError(f"{what} twice: {there[0]} and {there[1]}. Give --source a folder that holds one of them")
    return there[0] if there else None


def refuse_second_form(questions: Path, tables: Sequence[Table]) -> None:
    """Raise SourceError where parquet files lie beside the archive whose questions are in `questions`."""
    if tables:
        raise SourceError(
            f"the source holds the questions twice: {questions} and {tables[0].path}. "
            "Give --source a folder that holds one of them"
        )


def read_json_list(path: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """A JSON file of questions with these keys; SourceError names what is wrong with any other."""
    try:
        found = json.loads(check_file(path).read_text("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SourceError(f"{path} is no readable JSON ({error}); download it again") from error
    return checked_list(found, path, keys)


def checked_list(found: object, path: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """What was read from `path`, if it is a list of objects with these keys; else SourceError."""
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise SourceError(f"{path} is not a list of questions; download it again")
    for number, entry in enumerate(found):
        lacking = [key for key in keys if key not in entry]
        if lacking:
            raise SourceError(f"{path}: entry {number} lacks {', '.join(lacking)}; download it again")
    return found
