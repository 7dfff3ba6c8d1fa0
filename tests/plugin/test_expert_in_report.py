"""An expert that the token budget cuts is the same episode in training, in the validation log and in the report."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf
from PIL import Image
from transformers import AutoProcessor

from medeyes_verl.data.image_store import ImageStore
from medeyes_verl.data.row import read_rows
from medeyes_verl.evaluation.episode_log import read_episodes
from medeyes_verl.expert.store import TrajectoryStore
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.gaze.tiny_episode import tiny_keys
from medeyes_verl.plugin.agent_loop import GazeAgentLoop
from medeyes_verl.plugin.validation_figures import Kept, record_validation
from medeyes_verl.report.expert_play import ExpertReplay
from medeyes_verl.tiny.model import TINY_EPISODE


@pytest.mark.parametrize(("length", "finish"), [(320, "answered"), (40, "truncated")])
def test_a_cut_expert_is_shown_cut(prepared: Any, tmp_path: Path, length: int, finish: str) -> None:
    processor = AutoProcessor.from_pretrained(prepared.model)
    stored = next(read_rows(prepared.data / "train.parquet"))
    expert_id = stored["extra_info"]["expert_id"]
    text = {"type": "text", "text": stored["extra_info"]["question"]}
    prompt = [{"role": "user", "content": [{"type": "image", "image": stored["images"][0]}, text]}]
    settings = {
        "episode": tiny_keys(),
        "system_prompt": False,
        "n_expert": 1,
        "experts": str(prepared.data / "experts"),
    }
    config = OmegaConf.create(
        {
            "medeyes": {"output": str(tmp_path)},
            "actor_rollout_ref": {"rollout": {"n": 2, "custom": {"medeyes": settings}}},
            "data": {"max_response_length": length},
            "trainer": {"v1": {"trainer_mode": "medeyes_sync"}, "default_local_dir": str(tmp_path / "checkpoints")},
        }
    )
    loop = object.__new__(GazeAgentLoop)
    loop.config, loop.processor, loop.server_manager = config, processor, None
    loop.rollout_config = SimpleNamespace(response_length=length, n=2, calculate_log_probs=True)
    row = {"raw_prompt": prompt, "extra_info": stored["extra_info"], "uid": "u", "session_id": 1, "global_steps": 1}
    output = asyncio.run(loop.run({}, **row))
    trained = output.extra_fields["trace"]
    assert (output.extra_fields["stream"], trained["finish"]) == ("expert", finish)

    kept = Kept()
    kept.add(stored | {"raw_prompt": prompt, "extra_fields": output.extra_fields}, ImageStore(tmp_path / "logs"))
    record_validation(kept, config, processor, SimpleNamespace(logger={"console": None}), step=1)
    [logged] = read_episodes(tmp_path / "logs" / "validation-1.jsonl")
    assert logged.trace.as_dict() == trained

    replay = ExpertReplay(TINY_EPISODE, PolicyTokens(processor), length)
    originals = [Image.open(path) for path in stored["images"]]
    shown = [
        replay.episode(logged, trajectory, originals)
        for trajectory in TrajectoryStore(prepared.data / "experts").get(expert_id)
    ]
    # which of the stored trajectories a session replays is training's choice
    [same, *_] = [episode for episode in shown if episode.trace.as_dict() == trained]
    assert same.scores.acc == (1.0 if finish == "answered" else 0.0)
