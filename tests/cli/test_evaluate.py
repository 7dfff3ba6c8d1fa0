"""The commands themselves, against an endpoint on loopback: files, resume, and what the user is told."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from medeyes_verl.cli.evaluate import add_commands
from medeyes_verl.evaluation import session
from medeyes_verl.http.client import HttpSettings

runner = CliRunner()
app = typer.Typer()
add_commands(app)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "CHAT", HttpSettings("", retries=1, backoff=0.01))


def evaluate(endpoint: Any, table: Path, output: Path, *more: str) -> Any:
    arguments = [endpoint.url, "--data", str(table), "--recipe", "cpu_tiny", "--output", str(output), *more]
    return runner.invoke(app, ["evaluate", *arguments])


def told(result: Any) -> str:
    return " ".join(result.output.split())


def test_an_evaluation_leaves_figures_and_episodes(
    endpoints: Callable[..., Any], good_policy: Any, table: Path, tmp_path: Path
) -> None:
    endpoint = endpoints(good_policy)
    result = evaluate(endpoint, table, tmp_path)
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "results.json").read_text())
    made_up = results["benchmarks"]["made_up/val"]
    assert made_up["overall"]["accuracy"] == pytest.approx(23 / 24)
    assert made_up["overall"]["best_iou"] == pytest.approx(1.0)
    assert made_up["overall"]["pictures"] == 12
    assert {kind: each["questions"] for kind, each in made_up["question_type"].items()} == {
        "closed": 8,
        "open": 8,
        "multiple_choice": 8,
    }
    assert results["run"]["episodes_played_now"] == 24
    assert results["settings"]["sampling"]["temperature"] == 0
    assert "95.8" in (tmp_path / "results.md").read_text()
    rows = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert {row["breakdown"] for row in rows} == {"overall", "question_type", "organ"}
    assert {body["model"] for body in endpoint.bodies} == {"scripted"}, "the endpoint's only model"
    assert not {"system"} & {message["role"] for body in endpoint.bodies for message in body["messages"]}


def test_a_run_goes_on_after_the_endpoint_died(
    endpoints: Callable[..., Any], good_policy: Any, table: Path, tmp_path: Path
) -> None:
    dying = endpoints(good_policy, dies_after=20)
    result = evaluate(dying, table, tmp_path, "--concurrency", "4")
    assert result.exit_code == 1
    assert "run the same command again to resume" in told(result)
    assert not (tmp_path / "results.json").exists(), "no figure from half of the questions"
    result = evaluate(endpoints(good_policy), table, tmp_path)
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["benchmarks"]["made_up/val"]["overall"]["questions"] == 24
    assert 0 < results["run"]["episodes_played_now"] < 24


def test_more_samples_of_a_finished_run_ask_only_for_those(
    endpoints: Callable[..., Any], good_policy: Any, table: Path, tmp_path: Path
) -> None:
    endpoint = endpoints(good_policy)
    evaluate(endpoint, table, tmp_path, "--temperature", "1")
    before = endpoint.asked.total()
    result = evaluate(endpoint, table, tmp_path, "--n", "3")
    assert result.exit_code == 0, result.output
    assert endpoint.asked.total() == 3 * before
    overall = json.loads((tmp_path / "results.json").read_text())["benchmarks"]["made_up/val"]["overall"]
    assert (overall["samples"], overall["pass"], overall["majority"]) == (3, 23 / 24, 23 / 24)
    result = evaluate(endpoint, table, tmp_path, "--n", "3", "--temperature", "0.5")
    assert result.exit_code == 1
    assert "another sampling" in told(result)


def test_the_key_comes_from_the_environment(
    endpoints: Callable[..., Any], good_policy: Any, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = endpoints(good_policy)
    endpoint.key = "secret"
    result = evaluate(endpoint, table, tmp_path, "--limit", "1")
    assert result.exit_code == 1
    assert "no entry" in told(result)
    monkeypatch.setenv("MEDEYES_API_KEY", "secret")
    assert evaluate(endpoint, table, tmp_path, "--limit", "1").exit_code == 0
    assert "secret" not in "".join(path.read_text() for path in tmp_path.iterdir())


def test_a_dump_is_evaluated_without_a_model(table: Path, tmp_path: Path) -> None:
    answer = "<reasoning>seen</reasoning>\n<answer>yes</answer>"
    line = {"input": "user\nQuestion 0?\nassistant\n", "output": answer, "gts": "yes", "step": 3, "acc": 0.0}
    (tmp_path / "3.jsonl").write_text(json.dumps(line) + "\n")
    arguments = ["evaluate", str(tmp_path / "3.jsonl"), "--data", str(table), "--recipe", "cpu_tiny"]
    for _ in range(2):  # a second time makes the same of it
        result = runner.invoke(app, arguments)
        assert result.exit_code == 0, result.output
        assert "1 episodes have another accuracy than training logged" in told(result)
    assert len((tmp_path / "3" / "episodes.jsonl").read_text().splitlines()) == 1
    assert json.loads((tmp_path / "3" / "results.json").read_text())["run"] == {"disagreeing_with_training": 1}


def test_two_runs_are_compared(endpoints: Callable[..., Any], good_policy: Any, table: Path, tmp_path: Path) -> None:
    evaluate(endpoints(good_policy), table, tmp_path / "good")
    evaluate(endpoints(lambda *_: "<reasoning>a</reasoning>\n<answer>yes</answer>"), table, tmp_path / "yes")
    arguments = ["compare", str(tmp_path / "good"), str(tmp_path / "yes"), "--output", str(tmp_path / "table.md")]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "| made_up/val | 24 | 95.8 | 33.3 | -62.5 [" in result.output
    assert (tmp_path / "table.md").read_text().strip() in result.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["evaluate", "./nothing"], "no such folder"),
        (["evaluate", "http://127.0.0.1:9/v1", "--recipe", "cpu_tiny"], "--data"),
        (["evaluate", "http://127.0.0.1:9/v1", "--recipe", "nope"], "cpu_tiny"),
        (["compare", "nothing", "nothing"], "nothing"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], complaint: str) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 1
    assert complaint in told(result)
    assert "Traceback" not in result.output
