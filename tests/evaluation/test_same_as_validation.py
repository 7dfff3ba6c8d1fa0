"""The same checkpoint, greedy, on the same questions: main_ppo's validation and `evaluate` come to the same figure."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from medeyes_verl.evaluation.dump import read_dump
from medeyes_verl.evaluation.recipe import read_recipe
from medeyes_verl.evaluation.run import read_tables
from medeyes_verl.evaluation.session import Options, play
from medeyes_verl.evaluation.sources import Source

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 900
QUESTIONS = 16


def run(*command: Any, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, command


def test_validation_and_evaluation_agree(tmp_path: Path) -> None:
    data, model = tmp_path / "data", tmp_path / "model"
    made = ("--train", "64", "--val", QUESTIONS, "--test", "0")
    run("data_preprocess/phantom.py", "--output", data, *made)
    experts = ("--data", data / "train.parquet", "--store", data / "experts")
    run("-m", "medeyes_verl.cli", "experts", "script", *experts)
    warm_up = ("--minutes", "10", "--steps", "150")  # enough to write turns, with answers right and wrong
    policy = ("--data", data / "train.parquet", "--experts", data / "experts", "--output", model, *warm_up)
    run("-m", "medeyes_verl.cli", "tiny-policy", *policy)
    run(
        *("-m", "verl.trainer.main_ppo", "+medeyes=cpu_tiny", f"medeyes.data={data}", f"medeyes.model={model}"),
        *(f"medeyes.output={tmp_path}", f"hydra.run.dir={tmp_path / 'hydra'}"),
        *("actor_rollout_ref.rollout.val_kwargs.do_sample=false", "actor_rollout_ref.rollout.val_kwargs.temperature=0"),
        *("trainer.val_only=true", f"trainer.validation_data_dir={tmp_path / 'dump'}"),
        VERL_FILE_LOGGER_PATH=str(tmp_path / "metrics.jsonl"),
    )
    logged = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])["data"]
    dumped = [json.loads(line) for line in (tmp_path / "dump" / "0.jsonl").read_text().splitlines()]

    table = data / "val.parquet"
    source = Source("model", str(model), read_recipe("cpu_tiny"), (table,), tmp_path / "evaluation")
    episodes = play(source, read_tables([table]), Options(), lambda _: None, lambda *_: lambda _: None).episodes
    assert len(dumped) == len(episodes) == QUESTIONS
    right = [episode.scores.acc for episode in episodes]
    assert sum(right) / QUESTIONS == pytest.approx(logged["val-core/phantom/acc/mean@1"])
    gazes = [len(episode.trace.boxes) for episode in episodes]
    assert sum(gazes) / QUESTIONS == pytest.approx(logged["val-aux/phantom/gazes/mean@1"])
    assert {episode.prompts_differing for episode in episodes} == {0}

    def last_words(text: str) -> str:
        return text.rpartition("assistant\n")[2].strip()

    ends = Counter((line["gts"], last_words(line["output"])) for line in dumped)
    assert ends == Counter((episode.ground_truth, episode.trace.turns[-1].text.strip()) for episode in episodes)

    if "id" in dumped[0]:
        replayed = read_dump(tmp_path / "dump" / "0.jsonl", read_tables([table]), read_recipe("cpu_tiny"))
        assert replayed.disagreeing == 0
        assert {each.key: each.scores for each in replayed.episodes} == {each.key: each.scores for each in episodes}
