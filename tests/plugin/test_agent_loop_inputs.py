"""What the agent loop is given and refuses, without Ray."""

import asyncio
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from medeyes_verl.plugin.agent_loop import GazeAgentLoop, _game_of, _original
from medeyes_verl.plugin.streams import MODE_MARK, StreamsUnknownError, knows_streams


def turned() -> bytes:
    """A JPEG of 40 × 30 pixels whose EXIF tag says that it is to be turned by a quarter."""
    image, buffer = Image.new("RGB", (40, 30), "red"), BytesIO()
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def test_an_image_is_the_same_as_bytes_as_a_path_and_opened(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(turned())
    opened = Image.open(BytesIO(turned()))
    parts = [
        {"image": str(tmp_path / "a.jpg")},
        {"image": f"file://{tmp_path / 'a.jpg'}"},
        {"image": opened, "bytes": turned()},
        {"image": opened, "bytes": None},
    ]
    images = [asyncio.run(_original(part)) for part in parts]
    assert [(image.size, image.mode) for image in images] == [((30, 40), "RGB")] * 4
    assert len({image.tobytes() for image in images}) == 1


def test_an_image_beyond_the_bounds_is_refused_in_every_form() -> None:
    with pytest.raises(ValueError, match="longer than 200 times"):
        asyncio.run(_original({"image": Image.new("L", (2010, 10))}))


def config(mode: str, n_expert: int, **v1: Any) -> DictConfig:
    rollout = {"n": 4, "custom": {"medeyes": {"n_expert": n_expert, "experts": "some/experts"}}}
    return OmegaConf.create(
        {"actor_rollout_ref": {"rollout": rollout}, "trainer": {"v1": {"trainer_mode": mode, **v1}}}
    )


def test_experts_under_a_trainer_that_knows_no_streams_are_refused() -> None:
    with pytest.raises(StreamsUnknownError, match=r"n_expert=2 under a trainer .*medeyes_sync.*n_expert to 0"):
        _game_of(config("sync", 2), processor=None)


def test_our_trainer_is_known_before_and_after_it_put_verls_mode_back() -> None:
    assert knows_streams(config("medeyes_separate_async", 0))
    assert knows_streams(config("sync", 0, **{MODE_MARK: "medeyes_sync"}))
    assert not knows_streams(config("sync", 0))


def test_a_row_of_text_is_refused_with_the_loop_that_takes_it(prepared: Any) -> None:
    from transformers import AutoProcessor

    loop = object.__new__(GazeAgentLoop)
    loop.config = config("sync", 0)
    loop.processor = AutoProcessor.from_pretrained(prepared.model)
    loop.rollout_config = SimpleNamespace(response_length=64, n=4)
    row = {"raw_prompt": [{"role": "user", "content": "2 + 2?"}], "extra_info": {"index": 3}}
    with pytest.raises(ValueError, match=r"row 3: medeyes_gaze needs an image.*single_turn_agent"):
        asyncio.run(loop.run({}, **row))
