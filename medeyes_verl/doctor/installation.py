"""Findings about what is installed: versions, torchvision, vLLM."""

import sys
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from medeyes_verl.doctor.check import Finding
from medeyes_verl.environment import imports, installed_version

REINSTALL = "install again: bash scripts/quickstart.sh, or pip install 'medeyes-verl[cpu]' ([gpu] with an NVIDIA GPU)"
FIX = "run: medeyes-verl doctor --fix"


def installation() -> Iterator[Finding]:
    """Python, the required distributions at their pinned versions, torchvision and vLLM."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding(
        "Python", SpecifierSet(">=3.10,<3.13").contains(python), python, "make an environment with Python 3.10 to 3.12"
    )
    for requirement in _requirements():
        found = installed_version(requirement.name)
        fits = found is not None and requirement.specifier.contains(found, prereleases=True)
        yield Finding(str(requirement), fits, found or "not installed", REINSTALL)
    loads, why = imports("torchvision")
    yield Finding("torchvision imports (without it veRL has no image processor)", loads, why or "yes", FIX)
    vllm = installed_version("vllm")
    yield Finding("vLLM is known by the name veRL asks for", vllm is not None, vllm or "not found", FIX)
    loads, why = imports("vllm")
    yield Finding("vLLM imports", loads, why or "yes", REINSTALL)


def _requirements() -> Iterator[Requirement]:
    """What this distribution asks for whatever the machine."""
    from importlib.metadata import requires

    for line in requires("medeyes-verl") or []:
        requirement = Requirement(line)
        if requirement.marker is None:
            yield requirement
