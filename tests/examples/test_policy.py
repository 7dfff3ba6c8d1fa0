"""The example's policy through `evaluate`; what does not fit is refused before the first episode."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from medeyes_verl.cli.app import app
from medeyes_verl.evaluation.episode_log import read_episodes

EXAMPLE = Path(__file__).parents[2] / "examples" / "policy.py"
PATH = f"{EXAMPLE}:Prior"


def evaluate(path: str, table: Path, output: Path, *words: Any) -> tuple[int, str]:
    command = ["evaluate", path, "--data", table, "--recipe", "cpu_tiny", "--output", output, *words]
    result = CliRunner().invoke(app, [str(word) for word in command])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 40


def test_the_example_is_evaluated_and_resumed(table: Path, tmp_path: Path) -> None:
    settings = ("--policy-settings", EXAMPLE.with_suffix(".yaml"))
    status, output = evaluate(PATH, table, tmp_path, *settings, "--limit", 9)
    assert status == 0, output
    assert "Evaluation of your policy" in output
    episodes = read_episodes(tmp_path / "episodes.jsonl")
    assert [episode.trace.num_gazes for episode in episodes] == [1] * 9
    assert {episode.trace.answer for episode in episodes if episode.question_type == "open"} == {"ring"}
    assert all(episode.scores.acc == 1 for episode in episodes if episode.question_type == "open")
    status, output = evaluate(PATH, table, tmp_path, *settings)
    assert status == 0, output
    assert json.loads((tmp_path / "results.json").read_text())["run"]["episodes_played_now"] == 24 - 9
    status, output = evaluate(PATH, table, tmp_path)
    assert status == 1
    assert "another arguments" in output, "other settings, another policy"


@pytest.mark.parametrize(
    ("path", "words", "said"),
    [
        ("absent.py:Prior", [], "SOURCE=absent.py:Prior: there is no file"),
        ("medeyes_verl.gaze.geometry:FRAMES", [], "not a class, or a function that returns one Policy"),
        ("medeyes_verl.gaze.trace:EpisodeTrace", [], "the settings given are none"),
        (PATH, ["--temperature", 0.5, "--seed", 3], "--temperature, --seed: a policy of your own does not read it"),
    ],
)
def test_what_cannot_be_used_is_said_before_the_first_episode(
    table: Path, tmp_path: Path, path: str, words: list[Any], said: str
) -> None:
    status, output = evaluate(path, table, tmp_path / "out", *words)
    assert status == 1
    assert said in output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise KeyError('weights')", "raised KeyError: 'weights'"),
        ("return 'a turn'", "returned 'a turn', which is no Completion"),
    ],
)
def test_a_mistake_of_the_policy_stops_the_evaluation_and_is_named(
    table: Path, tmp_path: Path, body: str, said: str
) -> None:
    own = tmp_path / "own.py"
    own.write_text(f"class Own:\n    async def next_turn(self, conversation):\n        {body}\n")
    status, output = evaluate(f"{own}:Own", table, tmp_path / "out")
    assert status == 1
    assert f"policy {own}:Own {said}" in output
    assert "run the same command again to resume" in output


def test_the_settings_of_the_example_are_its_keywords() -> None:
    assert yaml.safe_load(EXAMPLE.with_suffix(".yaml").read_text()) == {"otherwise": "ring"}
