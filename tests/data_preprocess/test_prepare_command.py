"""`medeyes-verl prepare` and the scripts of data_preprocess/: one command under two names."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medeyes_verl.cli.app import app
from medeyes_verl.cli.prepare import READERS
from medeyes_verl.data.readers.path_vqa import app as path_vqa

SCRIPTS = Path(__file__).parents[2] / "data_preprocess"
WIDE = {"COLUMNS": "200"}


def help_text(command, *arguments: str) -> list[str]:
    result = CliRunner().invoke(command, [*arguments, "--help"], env=WIDE)
    assert result.exit_code == 0, result.output
    return [line for line in result.output.splitlines() if "Usage:" not in line]


def test_every_reader_has_a_script_and_a_command() -> None:
    modules = {path.stem for path in (SCRIPTS.parent / "medeyes_verl/data/readers").glob("[!_]*.py")}
    assert modules == {path.stem for path in SCRIPTS.glob("*.py")} == set(READERS.values())


@pytest.mark.parametrize(("name", "module"), READERS.items())
def test_a_script_is_its_command(name: str, module: str) -> None:
    spec = importlib.util.spec_from_file_location(f"script_{module}", SCRIPTS / f"{module}.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    text = help_text(app, "prepare", name)
    assert help_text(script.app) == text
    assert len(text) > 10


def test_the_group_names_every_command() -> None:
    text = "\n".join(help_text(app, "prepare"))
    assert all(f"{name} " in text for name in READERS)
    result = CliRunner().invoke(app, ["prepare", "vqa_rad"])
    assert result.exit_code == 2
    assert "No such command 'vqa_rad'" in result.output


def test_help_keeps_its_brackets() -> None:
    assert "`[image 1]`, `[image 2]`" in " ".join(" ".join(help_text(app, "prepare", "mmmu")).split())


def test_no_reader_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys, medeyes_verl.cli.app; sys.exit(', '.join(m for m in sys.modules if 'data.readers.' in m) or None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=SCRIPTS.parent)


def test_a_script_runs_by_itself(tmp_path) -> None:
    command = [sys.executable, str(SCRIPTS / "vqa_rad.py"), "--source", str(tmp_path), "--output", str(tmp_path / "o")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=SCRIPTS.parent)
    assert done.returncode == 1, done.stderr
    assert "lies inside the source" in done.stdout


def test_an_engine_that_is_not_installed_is_named_with_its_extra(
    snapshot: Callable[..., Path], encode: Callable[..., bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"image": encode(1), "question": "Is it?", "answer": "yes"}
    source = snapshot(tmp_path / "source", {"train-00000-of-00001": [row] * 3})
    monkeypatch.setattr("medeyes_verl.extras.find_spec", lambda module: None)
    result = CliRunner().invoke(path_vqa, ["--source", str(source), "--output", str(tmp_path / "o"), "--engine", "ray"])
    assert result.exit_code == 1
    assert "this needs ray, which is not installed: pip install 'medeyes-verl[verl]'" in " ".join(result.output.split())
