"""The shell lines that a CPU can run, run: every page's in order, in one clean folder, as a reader would type them."""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shell_blocks import PAGES, ROOT, Block, blocks_of

LIMIT_S = 900
QUICKSTART = "outputs/quickstart-phantom"
LINKED = ("data_preprocess", "scripts", "examples", "docs", "medeyes_verl")
"""Of the checkout, which documented commands name by their path in it."""


def _pages(needs: str) -> list[Path]:
    return [page for page in PAGES if any(block.needs == needs for block in blocks_of(page)[0])]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clean folder with the checkout's files, the programs, and a small archive where the pages say ARCHIVE."""
    for name in LINKED:
        (tmp_path / name).symlink_to(ROOT / name)
    programs = tmp_path / ".programs"
    programs.mkdir()
    for name, command in (("python", ""), ("python3", ""), ("medeyes-verl", "-m medeyes_verl.cli")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {command} "$@"\n')
        (programs / name).chmod(0o755)
    _write_vqa_rad(tmp_path / "ARCHIVE")
    return tmp_path


def _write_vqa_rad(archive: Path) -> None:
    """Twenty-four questions about twelve images, in the form of the authors' archive."""
    images = archive / "VQA_RAD Image Folder"
    images.mkdir(parents=True)
    entries = []
    for number in range(24):
        name = f"synpic{number // 2}.jpg"
        pixels = np.random.default_rng(number // 2).integers(256, size=(336, 448), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG")
        (images / name).write_bytes(buffer.getvalue())
        entries.append(
            {
                "qid": number,
                "image_name": name,
                "image_organ": "CHEST",
                "question": f"Is there a finding number {number}?",
                "answer": "Yes" if number % 3 else "No",
                "answer_type": "CLOSED",
                "question_type": "PRES",
                "phrase_type": "test_freeform" if number >= 16 else "freeform",
            }
        )
    (archive / "VQA_RAD Dataset Public.json").write_text(json.dumps(entries))


def _run(block: Block, folder: Path) -> None:
    environment = {**os.environ, "PATH": f"{folder / '.programs'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment |= {name: name for name in ("DATA", "OUT", "ARCHIVE")}
    for command in block.commands:
        text, port = command.partition(" #")[0], _free_port()
        serves = " --web" in text
        text += f" --port {port}" if serves else ""
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            if serves:
                _wait_for_page(port, process)
                os.killpg(process.pid, signal.SIGINT)
            said, _ = process.communicate(timeout=LIMIT_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        assert serves or process.returncode == 0, f"{block}: {text}\nended with {process.returncode}:\n{said[-3000:]}"
        assert "Traceback" not in said or serves, f"{block}: {text}\n{said[-3000:]}"


def _free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def _wait_for_page(port: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + LIMIT_S
    while True:
        assert process.poll() is None, process.stdout and process.stdout.read()[-3000:]
        assert time.monotonic() < deadline, "the page was not served"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/start", timeout=10) as answer:
                assert "stays on this machine" in json.load(answer)["destination"]
                return
        except OSError:
            time.sleep(0.2)


@pytest.mark.ray
@pytest.mark.parametrize("page", _pages("cpu"), ids=lambda page: page.name)
def test_what_a_page_shows_can_be_typed(page: Path, folder: Path) -> None:
    for block in blocks_of(page)[0]:
        if block.needs == "cpu":
            _run(block, folder)


@pytest.mark.e2e
@pytest.mark.skipif("MEDEYES_TEST_RUN" not in os.environ, reason="MEDEYES_TEST_RUN names no finished run of quickstart")
@pytest.mark.parametrize("page", _pages("trained"), ids=lambda page: page.name)
def test_what_a_page_shows_of_a_finished_run_can_be_typed(page: Path, folder: Path) -> None:
    finished = Path(os.environ["MEDEYES_TEST_RUN"]).resolve()
    for name in ("OUT", QUICKSTART):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(finished, folder / name, symlinks=True, ignore=shutil.ignore_patterns("export", "evaluation"))
    for block in blocks_of(page)[0]:
        if block.needs == "trained":
            _run(block, folder)


@pytest.mark.ray
@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_an_example_in_python_runs(example: Path) -> None:
    subprocess.run([sys.executable, str(example)], check=True, timeout=LIMIT_S, stdout=subprocess.DEVNULL)
