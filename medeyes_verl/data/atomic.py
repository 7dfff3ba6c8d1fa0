"""Files that are either whole or absent.

Everything the package writes goes to a hidden temporary file beside its target and is moved into place with
`os.replace`, so a reader never meets half a file and a killed run leaves nothing that a later one could
mistake for a result.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEMPORARY_SUFFIX = ".tmp"


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yields a temporary path beside `target`; what is written there becomes `target`, or vanishes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(target: Path, data: bytes) -> None:
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def write_json(target: Path, value: Any) -> None:
    write_bytes(target, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def sweep_temporaries(folder: Path) -> int:
    """Removes what killed writers left under `folder`, and says how many files. Only for its sole writer."""
    stale = list(folder.rglob(f".*{TEMPORARY_SUFFIX}"))
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)
