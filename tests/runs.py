"""Runs to report on: a folder with metrics and a log of episodes, made in a moment."""

import asyncio
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from medeyes_verl.data.row import read_rows
from medeyes_verl.evaluation.episode_log import EpisodeLog, LoggedEpisode
from medeyes_verl.evaluation.player import play_texts
from medeyes_verl.evaluation.recipe import Recipe

GAZE = '<reasoning>look</reasoning>\n<action>{"name": "Gaze", "coordinate": [0, 0, 56, 56]}</action>'
ANSWERS = {"closed": "yes", "open": "ring", "multiple_choice": "B"}

MakeEpisodes = Callable[..., list[LoggedEpisode]]
MakeRun = Callable[..., Path]


@pytest.fixture
def episodes(table: Path, recipe: Recipe) -> MakeEpisodes:
    """Plays the first rows of the table: right after one gaze, unless told what each question is answered."""

    def play(count: int = 6, turns: dict[int, list[str]] | None = None) -> list[LoggedEpisode]:
        played = []
        for number, row in enumerate(list(read_rows(table))[:count]):
            right = ANSWERS[row["extra_info"]["question_type"]]
            texts = (turns or {}).get(number, [GAZE, f"<reasoning>seen</reasoning>\n<answer>{right}</answer>"])
            played.append(asyncio.run(play_texts(row, recipe, texts, "test", "on_policy")))
        return played

    return play


@pytest.fixture
def make_run(tmp_path: Path, episodes: MakeEpisodes) -> MakeRun:
    """A run's folder with three steps of metrics and, unless given, six right episodes."""

    def make(name: str = "run", played: Iterable[LoggedEpisode] | None = None, reward: float = 0.5) -> Path:
        folder = tmp_path / name
        (folder / "logs").mkdir(parents=True)
        lines = [
            {"step": 0, "data": {"val-core/made_up/acc/mean@1": 0.25, "val-aux/made_up/reward/mean@1": 0.3}},
            {"step": 1, "data": {"medeyes/on_policy/reward": reward, "medeyes/expert/reward": 0.9}},
            {
                "step": 2,
                "data": {
                    "medeyes/on_policy/reward": reward + 0.1,
                    "medeyes/expert/reward": 0.9,
                    "timing_s/step": 3.5,
                    "val-core/made_up/acc/mean@1": 0.75,
                    "val-aux/made_up/reward/mean@1": 0.8,
                },
            },
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "logs" / "metrics-1.jsonl").write_text(text, encoding="utf-8")
        with EpisodeLog(folder / "logs" / "validation-2.jsonl") as log:
            for episode in episodes() if played is None else played:
                log.append(episode)
        return folder

    return make
