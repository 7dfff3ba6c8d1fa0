"""Every command, given what is absent, empty or of the wrong kind: one sentence that names it, and no traceback."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medeyes_verl.cli.app import app

ENDPOINT = "http://127.0.0.1:9/v1"  # nobody listens there
Arguments = Callable[[str], list[str]]
SUBJECTS: dict[str, Arguments] = {
    "evaluate": lambda it: ["evaluate", it],
    "evaluate with all else given": lambda it: ["evaluate", it, "--recipe", "cpu_tiny", "--data", "good.parquet"],
    "evaluate --data": lambda it: ["evaluate", ENDPOINT, "--recipe", "cpu_tiny", "--data", it],
    "evaluate --recipe": lambda it: ["evaluate", ENDPOINT, "--data", "good.parquet", "--recipe", it],
    "evaluate --processor": lambda it: ["evaluate", ENDPOINT, "--data", "good.parquet", "--processor", it],
    "compare": lambda it: ["compare", it, it],
    "report": lambda it: ["report", it],
    "report --recipe": lambda it: ["report", "good-run", "--recipe", it],
    "report --experts": lambda it: ["report", "good-run", "--experts", it],
    "demo": lambda it: ["demo", it],
    "demo with all else given": lambda it: ["demo", it, "--image", "good.png", "--question", "?"],
    "demo --image": lambda it: ["demo", ENDPOINT, "--recipe", "cpu_tiny", "--question", "?", "--image", it],
    "demo --recipe": lambda it: ["demo", ENDPOINT, "--image", "good.png", "--question", "?", "--recipe", it],
    "export": lambda it: ["export", it],
    "experts script": lambda it: ["experts", "script", "--store", "new", "--data", it],
    "experts build": lambda it: ["experts", "build", "--store", "new", "--data", it],
    "experts build oracle.coco.annotations": lambda it: [
        "experts", "build", "--store", "new", "--data", "good.parquet", "oracle.coco.images=.",
        f"oracle.coco.annotations={it}",
    ],
    "experts build --config": lambda it: [
        "experts", "build", "--store", "new", "--data", "good.parquet", "--config", it,
    ],
    "experts inspect": lambda it: ["experts", "inspect", it, "--data", "good.parquet"],
    "experts validate": lambda it: ["experts", "validate", it],
    "experts validate --repair": lambda it: ["experts", "validate", it, "--repair"],
    "experts merge": lambda it: ["experts", "merge", "new", it],
}  # fmt: skip
KINDS = {
    "absent": "outputs/absent",
    "empty folder": "outputs/empty",
    "text": "outputs/notes.txt",
    "JSON lines": "outputs/other.jsonl",
    "parquet": "outputs/broken.parquet",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, training_table: Path) -> Path:
    """Each kind of wrong file, and good ones for the other arguments."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("cli")
    (folder / "outputs" / "empty").mkdir(parents=True)
    (folder / "outputs" / "notes.txt").write_text("hello\n")
    (folder / "outputs" / "other.jsonl").write_text('{"a": 1}\n')
    (folder / "outputs" / "broken.parquet").write_bytes(b"PAR1 no table PAR1")
    (folder / "good-run" / "logs").mkdir(parents=True)
    (folder / "good-run" / "logs" / "metrics-1.jsonl").write_text('{"step": 1, "data": {"critic/score/mean": 0.5}}\n')
    Image.new("RGB", (64, 64)).save(folder / "good.png")
    (folder / "good.parquet").symlink_to(training_table)
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_error_names_what_cannot_be_used(
    subject: str, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, SUBJECTS[subject](KINDS[kind]))
    assert result.exit_code in (1, 2), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    errors = [line for line in result.output.splitlines() if line.lower().startswith("error: ")]
    assert len(errors) == 1, result.output
    assert KINDS[kind] in errors[0], result.output
    assert len(errors[0]) > len("error: : ") + len(KINDS[kind]) + 10
    assert not any(riddle in errors[0] for riddle in ("Errno", "Traceback", "<_io", "object at 0x"))


def test_an_absent_folder_is_said_to_be_absent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["evaluate", "outputs/absent"])
    assert result.output.startswith("error: outputs/absent: no such folder")
    assert "a model folder" in result.output
    assert "http://HOST:PORT/v1" in result.output


def test_a_long_path_stays_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns; the line can be copied."""
    monkeypatch.setenv("COLUMNS", "80")
    absent = tmp_path / ("folder " * 12).strip() / "run"
    assert str(absent) in CliRunner().invoke(app, ["report", str(absent)]).output
