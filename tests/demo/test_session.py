"""The demo's episode: turn by turn, by the rules of training, against a script, an endpoint, a policy's folder."""

import asyncio
import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from medeyes_verl.cli.report import add_commands
from medeyes_verl.demo import session as module
from medeyes_verl.demo.session import DISCLAIMER, Stage, open_stage, picture_of, read_picture
from medeyes_verl.demo.terminal import show_episode
from medeyes_verl.evaluation.recipe import Recipe
from medeyes_verl.gaze.trace import EpisodeTrace, TraceTurn
from medeyes_verl.http.destination import IN_THIS_PROCESS
from medeyes_verl.policies.stored import StoredPolicy, Unbudgeted

GAZE = '<reasoning>look</reasoning>\n<action>{"name": "Gaze", "coordinate": [28, 0, 84, 56]}</action>'
ANSWER = "<reasoning>seen</reasoning>\n<answer>[bold]ring[/bold]</answer>"
BAD = '<reasoning>far</reasoning>\n<action>{"name": "Gaze", "coordinate": [0, 0, 900, 900]}</action>'


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(256, size=(224, 224, 3), dtype=np.uint8))


@pytest.fixture
def staged(recipe: Recipe) -> Callable[[Iterable[str]], Stage]:
    return lambda texts: Stage(
        "script", recipe, lambda messages, views: (Unbudgeted(), StoredPolicy(texts)), IN_THIS_PROCESS
    )


def _events(stage: Stage, picture: Image.Image) -> list[Any]:
    async def collect() -> list[Any]:
        return [event async for event in stage.play([picture], "What is it?")]

    return asyncio.run(collect())


def test_turns_come_with_boxes_of_the_original_and_then_the_record(staged: Any, picture: Image.Image) -> None:
    (refused, nothing), (look, crop), (answer, no_crop), trace = _events(staged([BAD, GAZE, ANSWER]), picture)
    assert isinstance(look, TraceTurn)
    assert isinstance(trace, EpisodeTrace)
    assert trace.turns == (refused, look, answer)
    assert (refused.box, nothing) == (None, None)
    assert refused.feedback.startswith("Outside box.")
    assert (look.reasoning, look.box) == ("look", trace.boxes[0])
    assert look.box is not None
    assert look.box.as_list() == [56, 0, 168, 112]
    assert np.array_equal(np.asarray(crop), np.asarray(picture)[0:112, 56:168])  # the original's own pixels
    assert (answer.box, answer.feedback, no_crop) == (None, None, None)
    assert trace.answer == "[bold]ring[/bold]"


def test_a_writer_that_runs_out_ends_the_episode_as_truncated(staged: Any, picture: Image.Image) -> None:
    *_, record = _events(staged([GAZE]), picture)
    assert isinstance(record, EpisodeTrace)
    assert record.finish == "truncated"


def test_an_endpoint_is_asked_for_its_one_model_and_gets_the_rules(
    endpoints: Any, recipe: Recipe, picture: Image.Image
) -> None:
    endpoint = endpoints(lambda question, turn: GAZE if turn == 0 else ANSWER)

    async def play() -> list[Any]:
        async with open_stage(endpoint.url, replace(recipe, system_prompt=True)) as stage:
            assert stage.name == f"scripted at 127.0.0.1:{endpoint.port}"
            return [event async for event in stage.play([picture], "What is it?")]

    assert asyncio.run(play())[-1].answer == "[bold]ring[/bold]"
    first = endpoint.bodies[0]
    assert first["model"] == "scripted"
    assert [message["role"] for message in first["messages"]] == ["system", "user"]
    assert [part["type"] for part in first["messages"][1]["content"]] == ["image_url", "text"]


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("http://127.0.0.1:9/v1", "pass --recipe"),
        ("nowhere/at/all", "no such folder; name the output directory of a run"),
    ],
)
def test_what_cannot_be_played_is_said(named: str, reason: str) -> None:
    async def enter() -> None:
        async with open_stage(named):
            pass

    with pytest.raises(ValueError, match=reason):
        asyncio.run(enter())


@pytest.mark.parametrize("colours", ["truecolor", None])
def test_the_terminal_tells_everything_and_takes_no_markup(staged: Any, picture: Image.Image, colours: Any) -> None:
    console = Console(
        record=True, width=120, color_system=colours, force_terminal=colours is not None, file=io.StringIO()
    )
    asyncio.run(show_episode(console, staged([BAD, GAZE, ANSWER]), [picture], "What [red]is[/red] it?", "ring"))
    text = console.export_text()
    for words in (DISCLAIMER, "What [red]is[/red] it?", "Outside box.", "gaze 1", "x 56–168, y 0–112", "truth: ring"):
        assert words in text
    assert "answer: [bold]ring[/bold]" in text
    assert "faults: outside box" in text
    assert ("▀" in text) == (colours is not None)


def _png(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "PNG")
    return buffer.getvalue()


def test_pictures_are_read_from_bytes_and_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_png((64, 48)))
    assert picture_of(_png((64, 48)), "upload").size == (64, 48)
    assert read_picture(tmp_path / "a.png").size == (64, 48)


def test_bad_pictures_are_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for data, reason in (
        (b"", "no known picture format"),
        (b"GIF89a", "upload: "),
        (_png((4, 1000)), "longer than 200 times"),
        (bytes(128) + b"DICM", "DICOM"),
    ):
        with pytest.raises(ValueError, match=reason):
            picture_of(data, "upload")
    with pytest.raises(ValueError, match="No such file"):
        read_picture(tmp_path / "absent.png")
    monkeypatch.setattr(module, "MOST_PICTURE_BYTES", 1_000_000)
    (tmp_path / "big.png").write_bytes(bytes(1_000_001))
    with pytest.raises(ValueError, match=r"big\.png: larger than 1 MB"):
        read_picture(tmp_path / "big.png")


def test_a_dicom_file_is_a_picture(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed: pip install medeyes-verl[dicom]")
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    scan = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    scan.Rows, scan.Columns, scan.SamplesPerPixel = 32, 48, 1
    scan.BitsAllocated = scan.BitsStored = 16
    scan.HighBit, scan.PixelRepresentation, scan.PhotometricInterpretation = 15, 0, "MONOCHROME2"
    scan.PixelData = (np.arange(32 * 48, dtype=np.uint16) * 20).tobytes()
    scan.save_as(tmp_path / "scan.dcm", enforce_file_format=True)
    read = np.asarray(read_picture(tmp_path / "scan.dcm"))
    assert read.shape == (32, 48, 3)
    assert (read[0, 0, 0], read[-1, -1, 0]) == (0, 255)


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    app = typer.Typer()
    add_commands(app)
    (tmp_path / "config.json").write_text("{}")
    result = CliRunner().invoke(app, ["demo", str(tmp_path)])
    assert result.exit_code == 1
    assert "--image FILE --question TEXT" in result.output


def test_a_terminal_does_not_obey_the_policy(staged: Any, picture: Image.Image) -> None:
    screen = io.StringIO()
    console = Console(width=120, color_system=None, file=screen)
    hostile = "<reasoning>\x1b[2J\x07gone</reasoning>\n<answer>\x1b]0;owned\x07</answer>"
    asyncio.run(show_episode(console, staged([hostile]), [picture], "What is it?", None))
    assert "\x1b" not in screen.getvalue()
    assert "\ufffd[2J\ufffdgone" in screen.getvalue()
