"""The command as a person runs it: it passes here, and is plain about a plugin broken on purpose."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray


def doctor(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "medeyes_verl.cli", "doctor", *arguments],
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_all_checks_pass_here() -> None:
    done = doctor()
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "doctor: all checks passed"


def test_a_plugin_that_verl_was_told_to_leave_out_is_found() -> None:
    done = doctor(VERL_USE_EXTERNAL_PLUGINS="none")
    assert done.returncode == 1
    assert "FAILED veRL knows every part, in a Ray worker" in done.stdout
    assert "VERL_USE_EXTERNAL_PLUGINS must not exclude medeyes_verl" in done.stdout


def test_a_plugin_that_fails_to_import_shows_its_error(tmp_path: Path) -> None:
    """A broken dependency of the plugin, which veRL itself would only log at DEBUG."""
    (tmp_path / "wrapt.py").write_text("raise ImportError('broken on purpose')\n")
    done = doctor(PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    assert done.returncode == 1
    assert "broken on purpose" in done.stdout
