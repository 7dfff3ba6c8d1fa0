"""A validation's episodes on their way to a log and to TensorBoard and W&B, without a trainer."""

import copy
import logging
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image
from transformers import AutoProcessor

from medeyes_verl.data.image_store import ImageStore
from medeyes_verl.data.row import read_rows
from medeyes_verl.evaluation.episode_log import read_episodes
from medeyes_verl.gaze.crop import open_picture
from medeyes_verl.gaze.episode import Episode
from medeyes_verl.gaze.tiny_episode import tiny_keys
from medeyes_verl.plugin import validation_figures as module
from medeyes_verl.plugin.validation_figures import Kept, kept_rows, record_validation, show_figures
from medeyes_verl.tiny.model import TINY_EPISODE

GAZE = '<reasoning>scan</reasoning>\n<action>{"name": "Gaze", "coordinate": [0, 0, 56, 56]}</action>'


@pytest.fixture(scope="module")
def processor(prepared: Any) -> Any:
    return AutoProcessor.from_pretrained(prepared.model)


@pytest.fixture
def row(prepared: Any) -> dict[str, Any]:
    """The validation row with one gaze and the correct answer, as TransferQueue holds it after a rollout."""
    stored = next(read_rows(prepared.data / "val.parquet"))
    answer = f"<reasoning>seen</reasoning>\n<answer>{stored['reward_model']['ground_truth']}</answer>"
    episode = Episode([open_picture(stored["images"][0])], TINY_EPISODE)
    episode.reply(GAZE, 20)
    episode.reply(answer, 21)
    text = {"type": "text", "text": stored["extra_info"]["question"]}
    return {
        "raw_prompt": [{"role": "user", "content": [{"type": "image", "image": stored["images"][0]}, text]}],
        "data_source": stored["data_source"],
        "reward_model": stored["reward_model"],
        "extra_info": stored["extra_info"],
        "extra_fields": {"trace": episode.trace.as_dict(), "stream": "on_policy"},
    }


def kept_of(tmp_path: Path, *rows: dict[str, Any]) -> Kept:
    kept = Kept()
    for row in rows:
        kept.add(copy.copy(row), ImageStore(tmp_path / "logs"))
    return kept


@pytest.fixture
def config(tmp_path: Path) -> Any:
    rollout = {"n": 2, "custom": {"medeyes": {"episode": tiny_keys(), "system_prompt": False}}}
    return OmegaConf.create(
        {
            "medeyes": {"output": str(tmp_path)},
            "actor_rollout_ref": {"rollout": rollout},
            "data": {"max_response_length": 320},
            "trainer": {"default_local_dir": str(tmp_path / "checkpoints")},
        }
    )


class Pictures:
    """A logger of pictures, TensorBoard's writer and wandb in one."""

    def __init__(self) -> None:
        self.taken: dict[str, tuple[Any, int]] = {}
        self.writer = self

    def add_image(self, name: str, picture: Any, step: int, dataformats: str) -> None:
        assert dataformats == "HWC"
        self.taken[name] = picture, step

    def Image(self, picture: Any) -> Any:  # noqa: N802  # wandb's name
        return picture

    def log(self, pictures: dict[str, Any], step: int) -> None:
        self.taken |= {name: (picture, step) for name, picture in pictures.items()}


def test_rows_become_logged_episodes_and_figures(
    row: dict[str, Any], config: Any, processor: Any, tmp_path: Path
) -> None:
    board, weights = Pictures(), Pictures()
    tracking = SimpleNamespace(logger={"console": None, "tensorboard": board, "wandb": weights})
    record_validation(kept_of(tmp_path, row, row), config, processor, tracking, step=4)
    first, second = read_episodes(tmp_path / "logs" / "validation-4.jsonl")
    assert (first.sample, second.sample) == (0, 1)
    assert (first.scores.acc, first.trace.well_formed) == (1.0, True)
    assert first.trace.turns[0].text == GAZE
    assert first.trace.turns[0].box is not None
    assert first.trace.turns[0].box.as_list() == [0, 0, 224, 224]
    assert first.trace.as_dict() == row["extra_fields"]["trace"], "the log holds what training saw"
    for logger in (board, weights):
        [(name, (picture, step))] = logger.taken.items()
        assert (name, step) == (f"episodes/{first.data_source}/{first.id}", 4)
        assert picture.dtype == np.uint8


def test_a_step_validated_again_replaces_its_log(
    row: dict[str, Any], config: Any, processor: Any, tmp_path: Path
) -> None:
    tracking = SimpleNamespace(logger={})
    record_validation(kept_of(tmp_path, row, row), config, processor, tracking, step=4)
    record_validation(kept_of(tmp_path, row), config, processor, tracking, step=4)
    assert len(read_episodes(tmp_path / "logs" / "validation-4.jsonl")) == 1


def test_a_failure_is_logged_and_goes_no_further(
    row: dict[str, Any], config: Any, processor: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    row["raw_prompt"][0]["content"][0]["image"] = "nowhere/a.png"  # the figure cannot be drawn
    record_validation(kept_of(tmp_path, row), config, processor, SimpleNamespace(logger={}), step=4)
    assert "the episodes of the validation at step 4 were not logged" in caplog.text


def test_an_image_that_cannot_be_kept_is_counted_and_costs_its_row_alone(
    row: dict[str, Any], config: Any, processor: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = copy.deepcopy(row)
    damaged["raw_prompt"][0]["content"][0]["bytes"] = b"no image"
    kept = kept_of(tmp_path, damaged, row)
    assert (kept.unreadable, len(kept.extra_fields)) == (1, 2)
    record_validation(kept, config, processor, SimpleNamespace(logger={}), step=4)
    assert len(read_episodes(tmp_path / "logs" / "validation-4.jsonl")) == 1
    assert "a row of the validation is not logged" in caplog.text


@pytest.mark.parametrize("opened", [True, False])
def test_images_inside_the_table_are_written_beside_the_log(
    row: dict[str, Any], config: Any, processor: Any, tmp_path: Path, opened: bool
) -> None:
    part = row["raw_prompt"][0]["content"][0]
    data = Path(part["image"]).read_bytes()
    size = Image.open(BytesIO(data)).size
    part["image"] = Image.open(BytesIO(data))
    if not opened:
        part["bytes"] = data
    record_validation(kept_of(tmp_path, row), config, processor, SimpleNamespace(logger={}), step=4)
    [episode] = read_episodes(tmp_path / "logs" / "validation-4.jsonl")
    [image] = episode.images
    assert Path(image).is_relative_to(tmp_path / "logs" / "images")
    assert Image.open(image).size == size
    assert episode.scores.acc == 1.0


def test_a_row_of_a_foreign_table_is_logged(row: dict[str, Any], config: Any, processor: Any, tmp_path: Path) -> None:
    """With veRL's own dataset class nothing has completed the row before."""
    row["extra_info"] = {"index": 3, "split": "val", "answer": "x"}
    del row["data_source"]
    record_validation(kept_of(tmp_path, row), config, processor, SimpleNamespace(logger={}), step=4)
    [episode] = read_episodes(tmp_path / "logs" / "validation-4.jsonl")
    assert (episode.id, episode.split, episode.scores.acc) == ("3", "val", 1.0)
    assert episode.data_source == "unknown"
    assert episode.trace.image_sizes


def test_rows_of_a_loop_that_leaves_no_trace_are_counted(
    row: dict[str, Any], config: Any, processor: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    row["extra_fields"] = {"turn_scores": []}
    with caplog.at_level(logging.WARNING):
        record_validation(kept_of(tmp_path, row), config, processor, SimpleNamespace(logger={}), step=4)
    assert "1 rows of a validation are not logged: their agent loop left no trace" in caplog.text
    assert read_episodes(tmp_path / "logs" / "validation-4.jsonl") == []


def test_rows_are_kept_while_they_are_sampled_and_the_buffer_is_left_as_it_was(
    row: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = [f"{number}_0_0" for number in range(300)]

    class Buffer:
        def sample(self, **options: Any) -> Any:
            return SimpleNamespace(keys=keys, partition_id=options["partition_id"]), {"metric": 1}

    def get(keys: list[str], partition_id: str, select_fields: list[str]) -> dict[str, list[Any]]:
        assert partition_id == "val"
        return {name: [row[name] for _ in keys] for name in select_fields}

    monkeypatch.setattr(module.tq, "kv_batch_get", get)
    buffer = Buffer()
    with kept_rows(buffer, tmp_path) as kept:
        batch, metrics = buffer.sample(partition_id="val")
        buffer.sample(partition_id="val")
    assert (batch.keys, metrics) == (keys, {"metric": 1})
    assert len(kept.rows) == len(kept.extra_fields) == 2 * len(keys), "every row, however many"
    assert kept.rows[0]["images"] == [row["raw_prompt"][0]["content"][0]["image"]]
    buffer.sample(partition_id="train")
    assert len(kept.rows) == 2 * len(keys)


def test_a_validation_without_any_episode_says_where_the_reason_is(tmp_path: Path) -> None:
    empty = SimpleNamespace(sample=lambda **_: (SimpleNamespace(keys=[], partition_id="val"), {}))
    with kept_rows(empty, tmp_path), pytest.raises(RuntimeError, match="all episodes of 8 validation prompts failed"):
        empty.sample(partition_id="val", batch_size=8)


def test_tensorboard_takes_the_figures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        figure = np.zeros((20, 30, 3), dtype=np.uint8)
        show_figures({"episodes/phantom/q1": figure}, {"tensorboard": SimpleNamespace(writer=writer)}, step=7)
    events = EventAccumulator(str(tmp_path)).Reload()
    [picture] = events.Images("episodes/phantom/q1")
    assert (picture.step, picture.width, picture.height) == (7, 30, 20)
