"""Export: an FSDP checkpoint in veRL's own layout becomes a folder that loads, whole or not at all."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medeyes_verl.evaluation import export as module
from medeyes_verl.evaluation.export import ExportError, actor_folder, export, exported_policy, newest_checkpoint

pytestmark = pytest.mark.ray  # a checkpoint is written, and merged by veRL, in processes of their own

WRITE_CHECKPOINT = """
import json, sys
from pathlib import Path
import torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from transformers import AutoModelForImageTextToText

model_folder, actor = map(Path, sys.argv[1:])
dist.init_process_group("gloo", init_method=f"file://{actor}/store", rank=0, world_size=1)
mesh = init_device_mesh("cpu", (1,), mesh_dim_names=("fsdp",))
model = AutoModelForImageTextToText.from_pretrained(model_folder)
state = {name: distribute_tensor(tensor, mesh, [Shard(0)]) for name, tensor in model.state_dict().items()}
torch.save(state, actor / "model_world_size_1_rank_0.pt")
(actor / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": 1}))
"""
"""In a process of its own, since a process group is a process's own."""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny policy with random weights."""
    from medeyes_verl.tiny.model import TinyShape, build_model, build_processor, save_policy
    from medeyes_verl.tiny.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("policy") / "model"
    tokenizer = train_tokenizer(["What is the lesion?", "scan", "ring seen"])
    save_policy(build_model(tokenizer, TinyShape(), seed=0), build_processor(tokenizer), folder)
    return folder


@pytest.fixture(scope="module")
def run(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints of steps 2 and 10, sharded as FSDP2 shards them; the older one is damaged."""
    folder = tmp_path_factory.mktemp("run")
    damaged, actor = (folder / "checkpoints" / f"global_step_{step}" / "actor" for step in (2, 10))
    for each in (damaged, actor):
        each.mkdir(parents=True)
    (damaged / "fsdp_config.json").write_text("{}")
    (damaged / "huggingface").symlink_to(policy)
    huggingface = actor / "huggingface"
    huggingface.mkdir()
    for file in policy.iterdir():
        if file.suffix != ".safetensors":
            (huggingface / file.name).write_bytes(file.read_bytes())
    command = [sys.executable, "-c", WRITE_CHECKPOINT, str(policy), str(actor)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_newest_checkpoint_is_found_by_number(run: Path) -> None:
    newest = run / "checkpoints" / "global_step_10"
    assert newest_checkpoint(run / "checkpoints") == newest
    for named in (run, run / "checkpoints", newest, newest / "actor"):
        assert actor_folder(named) == newest / "actor"


def test_what_is_no_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="holds no checkpoint"):
        actor_folder(tmp_path)
    (tmp_path / "global_step_3").mkdir()
    with pytest.raises(ExportError, match=r"fsdp_config\.json is not there"):
        actor_folder(tmp_path / "global_step_3")


def test_a_folder_in_use_is_left_alone(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="is there already"):
        export(run, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def _assert_loads_as(folder: Path, source: dict[str, Any]) -> None:
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(folder)
    assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    merged = model.state_dict()
    assert merged.keys() == source.keys()
    for name, tensor in source.items():
        assert torch.equal(merged[name].bfloat16(), tensor.bfloat16()), name
    processor = AutoProcessor.from_pretrained(folder)
    text = processor.apply_chat_template([{"role": "user", "content": "hello"}], tokenize=False)
    assert "<|im_start|>user" in text


def test_a_sharded_checkpoint_becomes_a_model_folder(run: Path, policy: Path) -> None:
    from transformers import AutoModelForImageTextToText

    folder = exported_policy(run)
    assert folder == run / "export" / "global_step_10"
    _assert_loads_as(folder, AutoModelForImageTextToText.from_pretrained(policy).state_dict())
    assert [each.name for each in folder.parent.iterdir()] == ["global_step_10"]
    before = (folder / "config.json").stat().st_mtime_ns
    assert exported_policy(run) == folder  # not a second time
    assert (folder / "config.json").stat().st_mtime_ns == before


def test_the_command_exports_once(run: Path) -> None:
    """evaluate and demo export to the same folder, so that export after them finds its work done."""
    from typer.testing import CliRunner

    from medeyes_verl.cli.app import app

    exported_policy(run)
    result = CliRunner().invoke(app, ["export", str(run)])
    assert result.exit_code == 0, result.output
    assert "global_step_10: a Hugging Face folder in bfloat16, exported already" in result.output


def test_a_merger_that_fails_leaves_nothing_and_its_words_are_told(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="World size not found"):
        export(run / "checkpoints" / "global_step_2", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_its_processor_is_no_export(
    run: Path, tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def merge_without_processor(actor: Path, target: Path) -> None:
        target.mkdir()
        for name in ("config.json", "model.safetensors"):
            (target / name).write_bytes((policy / name).read_bytes())

    monkeypatch.setattr(module, "_merge", merge_without_processor)
    with pytest.raises(ExportError, match="processor"):
        export(run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif("MEDEYES_TEST_RUN" not in os.environ, reason="MEDEYES_TEST_RUN names no run with a checkpoint")
def test_a_checkpoint_that_training_wrote(tmp_path: Path) -> None:
    import torch

    actor = actor_folder(Path(os.environ["MEDEYES_TEST_RUN"]))
    world = json.loads((actor / "fsdp_config.json").read_text())["world_size"]
    if world != 1:
        pytest.skip(f"the comparison is written for one rank, the checkpoint has {world}")
    state = torch.load(actor / "model_world_size_1_rank_0.pt", map_location="cpu", weights_only=False)
    source = {name: getattr(tensor, "_local_tensor", tensor) for name, tensor in state.items()}
    _assert_loads_as(export(actor, tmp_path / "out"), source)
