"""Reading a run's folder: what is found, what is passed over, what is an error."""

import json
from pathlib import Path
from typing import Any

import pytest

from medeyes_verl.evaluation.run_logs import read_runs


def test_metrics_and_episodes_are_found_by_their_content(make_run: Any) -> None:
    folder = make_run()
    (folder / "logs" / "dump.jsonl").write_text('{"input": "a", "output": "b"}\n')
    (folder / "logs" / "words.jsonl").write_text("no JSON at all\n")
    [run] = read_runs([folder])
    assert sorted(run.steps) == [0, 1, 2]
    assert run.steps[2]["timing_s/step"] == 3.5
    assert [(each.label, len(each.episodes)) for each in run.episode_sets] == [("validation-2", 6)]
    assert run.experts is None


def test_the_later_log_wins_where_two_overlap(make_run: Any) -> None:
    folder = make_run()
    (folder / "logs" / "metrics-2.jsonl").write_text('{"step": 2, "data": {"timing_s/step": 7}}\n')
    [run] = read_runs([folder])
    assert run.steps[2]["timing_s/step"] == 7
    assert run.steps[2]["medeyes/on_policy/reward"] == pytest.approx(0.6)


def test_a_cut_off_last_line_is_left_out_and_noted(make_run: Any) -> None:
    folder = make_run()
    with (folder / "logs" / "metrics-1.jsonl").open("a") as log:
        log.write('{"step": 3, "data": {"timing')
    [run] = read_runs([folder])
    assert sorted(run.steps) == [0, 1, 2]
    assert "metrics-1.jsonl: the last line is cut off" in run.notes[0]


def test_damage_in_the_middle_names_file_and_line(make_run: Any) -> None:
    folder = make_run()
    log = folder / "logs" / "metrics-1.jsonl"
    lines = log.read_text().splitlines()
    log.write_text("\n".join([lines[0], '{"step": 1}', lines[2]]) + "\n")
    with pytest.raises(ValueError, match=r"metrics-1\.jsonl, line 2"):
        read_runs([folder])


def test_values_that_are_no_finite_numbers_are_no_points(make_run: Any) -> None:
    folder = make_run()
    line = {"step": 9, "data": {"a": float("nan"), "b": float("inf"), "c": "word", "d": True, "e": 1}}
    (folder / "logs" / "metrics-3.jsonl").write_text(json.dumps(line) + "\n")
    [run] = read_runs([folder])
    assert run.steps[9] == {"e": 1.0}


def test_validations_come_in_the_order_of_their_steps(make_run: Any) -> None:
    folder = make_run()
    text = (folder / "logs" / "validation-2.jsonl").read_text()
    (folder / "logs" / "validation-10.jsonl").write_text(text)
    (folder / "evaluation").mkdir()
    (folder / "evaluation" / "episodes.jsonl").write_text(text)
    [run] = read_runs([folder])
    assert [each.label for each in run.episode_sets] == ["validation-2", "validation-10", "evaluation"]


def test_checkpoints_hidden_and_linked_folders_are_not_searched(make_run: Any, tmp_path: Path) -> None:
    folder, elsewhere = make_run(), make_run("elsewhere")
    for name in ("checkpoints", ".hidden"):
        (folder / name).mkdir()
        (folder / name / "x.jsonl").write_text((elsewhere / "logs" / "validation-2.jsonl").read_text())
    (folder / "linked").symlink_to(elsewhere)
    [run] = read_runs([folder])
    assert [each.label for each in run.episode_sets] == ["validation-2"]


def test_runs_of_one_name_are_told_apart(make_run: Any) -> None:
    runs = read_runs([make_run("a/run"), make_run("b/run")])
    assert [run.name for run in runs] == ["a/run", "b/run"]
    assert [each.label for run in runs for each in run.episode_sets] == ["a/run: validation-2", "b/run: validation-2"]


def test_one_run_twice_is_an_error(make_run: Any) -> None:
    folder = make_run()
    with pytest.raises(ValueError, match="twice"):
        read_runs([folder, folder / "logs" / ".."])


def test_nothing_to_report_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"logs/metrics-\*\.jsonl"):
        read_runs([tmp_path])
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_runs([tmp_path / "absent"])
