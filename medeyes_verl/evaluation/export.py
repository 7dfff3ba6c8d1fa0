"""From a training checkpoint to a Hugging Face folder that `vllm serve` takes: veRL's own merger, then a check.

The merger runs in a process of its own, so that nothing here imports veRL. It unpickles the checkpoint: export only
what you trained yourself. It writes bfloat16, whatever the policy was trained in.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from medeyes_verl.data.atomic import TEMPORARY_SUFFIX
from medeyes_verl.extras import require

STEP_FOLDER = re.compile(r"global_step_(\d+)")
TOLD_LINES = 15
"""Last lines of the merger's output that an error repeats."""


class ExportError(ValueError):
    """The checkpoint cannot be exported; the message says why."""


def newest_checkpoint(checkpoints: Path) -> Path:
    """The folder global_step_N with the highest N. Raises ExportError where there is none."""
    steps = {
        int(match.group(1)): folder
        for folder in (checkpoints.iterdir() if checkpoints.is_dir() else ())
        if (match := STEP_FOLDER.fullmatch(folder.name)) and (folder / "actor").is_dir()
    }
    if not steps:
        raise ExportError(
            f"{checkpoints}: {_problem(checkpoints)}; name the output directory of a run, its checkpoints, "
            "one global_step_N, or its actor folder"
        )
    return steps[max(steps)]


def _problem(checkpoints: Path) -> str:
    if checkpoints.is_dir():
        return "holds no checkpoint (global_step_N/actor)"
    return "a file, not a folder" if checkpoints.exists() else "no such folder"


def actor_folder(path: Path) -> Path:
    """The FSDP folder that `path` means: a run, its checkpoints, one global_step_N, or the actor's folder itself.

    Raises ExportError where none is found.
    """
    if (path / "fsdp_config.json").is_file():
        return path
    if STEP_FOLDER.fullmatch(path.name):
        if (path / "actor" / "fsdp_config.json").is_file():
            return path / "actor"
        raise ExportError(f"{path} holds no FSDP checkpoint: actor/fsdp_config.json is not there")
    inside = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    return actor_folder(newest_checkpoint(inside))


def export(checkpoint: Path, target: Path) -> Path:
    """Merge the checkpoint (see `actor_folder`) into the new folder `target`, whole or not at all; returns it.

    Raises ExportError when a folder of that name holds something, when the merger fails, or when what it wrote
    does not load as a processor with a chat template.
    """
    require("verl")
    actor = actor_folder(checkpoint)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ExportError(f"{target} is there already: name another folder, or remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        _merge(actor, unfinished)
        _check(unfinished)
        os.replace(unfinished, target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return target


def exported_policy(run: Path) -> Path:
    """The run's newest checkpoint as a model folder, exported to RUN/export/global_step_N the first time it is asked.

    Raises ExportError.
    """
    step = actor_folder(run).parent.name
    folder = run / "export" / step
    return folder if (folder / "config.json").is_file() else export(run, folder)


def _merge(actor: Path, target: Path) -> None:
    command = [sys.executable, "-m", "verl.model_merger", "merge", "--backend", "fsdp"]
    command += ["--local_dir", str(actor), "--target_dir", str(target)]
    # merging is work for a processor, also where there is an accelerator
    environment = {**os.environ, "VERL_PLATFORM": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        told = "\n".join((done.stdout + done.stderr).strip().splitlines()[-TOLD_LINES:])
        raise ExportError(f"veRL's merger failed on {actor}:\n{told}")


def _check(folder: Path) -> None:
    """What `vllm serve` needs must be there. veRL skips a processor that does not load with no more than a warning."""
    from transformers import AutoProcessor

    if not list(folder.glob("*.safetensors")):
        raise ExportError("veRL's merger wrote no weights")
    architectures = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures")
    try:
        processor = AutoProcessor.from_pretrained(folder)
    except (OSError, ValueError, ImportError) as error:
        raise ExportError(f"the merged model has no processor that loads: {error}") from error
    if not hasattr(processor, "image_processor") or not getattr(processor, "chat_template", None):
        raise ExportError(f"the merged model ({architectures}) has no image processor or no chat template")
