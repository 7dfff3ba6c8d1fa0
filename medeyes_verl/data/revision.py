"""One revision of a data set in the Hugging Face Hub's cache, whose folder may hold several."""

from __future__ import annotations

from pathlib import Path

from medeyes_verl.data.image_source import SourceError

SNAPSHOTS = "snapshots"


def revision_of(folder: Path, name: str) -> tuple[Path, str]:
    """The folder of the revision to read, and `name` with that revision; any other folder is returned as it is.

    Takes the cache itself with one data set in it, a data set's folder in it (`datasets--owner--name`), or its
    `snapshots/`. Of several revisions it takes the one that `refs/main` names, and raises SourceError without one.
    """
    datasets = sorted(path for path in folder.glob("datasets--*") if (path / SNAPSHOTS).is_dir())
    if len(datasets) > 1:
        raise SourceError(
            f"{folder} is a cache of {len(datasets)} data sets: {', '.join(path.name for path in datasets)}. "
            "Give --source the folder of one"
        )
    if datasets:
        folder = datasets[0]
    if folder.name == SNAPSHOTS and ((folder.parent / "refs").is_dir() or folder.parent.name.startswith("datasets--")):
        folder = folder.parent
    if not (folder / SNAPSHOTS).is_dir():
        return folder, name
    revisions = sorted(path for path in (folder / SNAPSHOTS).iterdir() if path.is_dir())
    main = folder / "refs" / "main"
    wanted = main.read_text("utf-8").strip() if main.is_file() else ""
    chosen = [path for path in revisions if path.name == wanted] or revisions
    if len(chosen) != 1:
        names = ", ".join(path.name for path in revisions) or "none"
        raise SourceError(
            f"{folder} holds {len(revisions)} revisions ({names}), and its refs/main names none of them. "
            f"Give --source one folder of {folder / SNAPSHOTS}"
        )
    why = "which refs/main names" if chosen[0].name == wanted else "the only one there"
    return chosen[0], f"{name} (revision {chosen[0].name}, {why})"
