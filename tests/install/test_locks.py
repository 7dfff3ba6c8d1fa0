"""The versions in requirements/ are versions that pyproject.toml allows, and no package index is named."""

import re
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).parents[2] / "requirements"
LOCKS = {
    "core": ("3.10", ("dicom", "demo")),
    "gpu": ("3.12", ("gpu", "verl", "dicom", "demo")),
    "cpu": ("3.11", ("cpu", "verl", "dev")),
}
"""File -> the Python it was made for, and the extras it holds."""


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_locked_to_an_allowed_version(name: str) -> None:
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    pins = dict(line.split("==") for line in text.splitlines() if line[:1].isalnum())
    assert not re.search(r"https?:", text)
    python, extras = LOCKS[name]
    environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
    checked = 0
    for line in requires("medeyes-verl") or ():
        needed = Requirement(line)
        if canonicalize_name(needed.name) == "medeyes-verl":
            continue
        if needed.marker and not any(
            needed.marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras)
        ):
            continue
        pin = pins[canonicalize_name(needed.name)]
        assert needed.specifier.contains(pin, prereleases=True), f"{line}, but {pin} is locked: bash scripts/lock.sh"
        checked += 1
    assert checked > 10
