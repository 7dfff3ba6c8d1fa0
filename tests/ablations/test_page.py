"""The tables and the picture: figures worked out by hand, and marks that must be there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from ablations.page import fill, picture, table, traps
from ablations.results import VALIDATION, Result, from_logs, read_result, read_results, write_result
from ablations.rows import ROWS, named
from PIL import Image

from medeyes_verl.data.row import Region
from medeyes_verl.evaluation.episode_log import EpisodeLog, LoggedEpisode
from medeyes_verl.gaze.geometry import Box
from tests.traces import trace_of

EXPERT = {
    "expert silent groups": {1: 0.5, 2: 1.0},
    "expert advantage size": {1: 0.4, 2: 0.0},
    "expert clip fraction": {1: 0.1, 2: 0.3},
    "expert gradient weight": {1: 0.9, 2: 0.7},
    "expert probability": {1: 0.8, 2: 0.9},
}


def result(row: str, seed: int, accuracies: dict[int, float], **training: dict[int, float]) -> Result:
    validation = {"accuracy": accuracies, "gazes": dict.fromkeys(accuracies, 1.5), "found": {1: 0.1, 2: 0.2}}
    own = {"accuracy": {1: 0.2, 2: 0.4}, "gazes": {1: 1.0, 2: 1.5}}
    return Result(row, seed, "a1", 4.0, 52_000, validation, {**own, **training})


def game(template: LoggedEpisode, name: str, gazes: Sequence[Box]) -> LoggedEpisode:
    """With a lesion of 10 × 10 pixels and a decoy beside it."""
    lesion, decoy = Region(Box(0, 0, 10, 10), "bar", target=True), Region(Box(50, 0, 60, 10), "decoy", target=False)
    places, modes = (1,) * len(gazes), ("drill",) * len(gazes)
    trace = trace_of(*gazes, images=places, modes=modes, answer="bar")
    return replace(template, id=name, regions=(lesion, decoy), trace=trace)


RESULTS = {
    "paper": [result("paper", seed, {1: 0.3, 2: end}, **EXPERT) for seed, end in ((0, 0.5), (1, 0.6))],
    "grpo": [result("grpo", seed, {1: 0.2, 2: end}) for seed, end in ((0, 0.3), (1, 0.3))],
}


def test_table() -> None:
    lines = table(ROWS, RESULTS).splitlines()
    assert len(lines) == 4
    paper = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    # mean of .5 and .6, deviation √(2·.05²); .25 above GRPO; GRPO's .3 reached at step 1
    assert paper[2:] == ["2", "30.0", "55.0 ± 7.1", "+25.0", "1", "20.0 ± 0.0", "1.50", "52k", "4.0", "71.5", "+10.5"]
    grpo = [cell.strip() for cell in lines[3].split("|")[1:-1]]
    assert grpo[2:] == ["2", "20.0", "30.0 ± 0.0", "", "", "20.0 ± 0.0", "1.50", "52k", "4.0", "61.0", ""]


def test_a_row_that_stays_below_grpo_never_reaches_it() -> None:
    results = {**RESULTS, "random": [result("random", 0, {1: 0.1, 2: 0.25})]}
    assert "| -5.0 | never |" in table(ROWS, results)


def test_traps() -> None:
    (row,) = traps(ROWS, RESULTS).splitlines()[2:]
    assert row == "| `paper` | 75% | 0.20 | 0.20 | 0.80 | 0.800 → 0.900 |"


def test_picture(tmp_path: Path) -> None:
    picture(tmp_path / "curves.png", ROWS, RESULTS)
    with Image.open(tmp_path / "curves.png") as drawn:
        assert drawn.width > 1000
        assert len(drawn.convert("RGB").getcolors(1 << 24)) > 20


def test_parts_are_filled_in_between_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- table -->\nold\n<!-- /table -->\nb\n")
    fill(page, {"table": "| \\1 new |"})
    fill(page, {"table": "| \\1 new |"})
    assert page.read_text() == "a\n<!-- table -->\n| \\1 new |\n<!-- /table -->\nb\n"
    with pytest.raises(ValueError, match="<!-- traps --> … <!-- /traps --> 0 times"):
        fill(page, {"traps": ""})


def test_a_new_page_is_its_parts(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    fill(page, {"table": "| a |", "traps": "b"})
    words = " ".join(page.read_text().split())
    assert words == "## table <!-- table --> | a | <!-- /table --> ## traps <!-- traps --> b <!-- /traps -->"


def test_a_result_is_read_from_verls_logs_and_kept(tmp_path: Path, logged_episode: LoggedEpisode) -> None:
    own = {"medeyes/on_policy/rows": 64.0, "medeyes/on_policy/written_tokens": 20.5, "medeyes/on_policy/gazes": 1.25}
    first = [{"step": 1, "data": own}, {"step": 2, "data": {**own, VALIDATION["accuracy"]: 0.25}}]
    second = [{"step": 3, "data": {**own, VALIDATION["accuracy"]: 0.5}}]
    for name, entries in (("a.jsonl", first), ("b.jsonl", second)):
        (tmp_path / name).write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    far, half, other = Box(100, 0, 110, 10), Box(5, 0, 15, 10), Box(50, 0, 60, 10)
    games = {2: [[far], [other]], 3: [[far, half], [far, other], [], [half]]}
    for step, played in games.items():
        with EpisodeLog(tmp_path / f"validation-{step}.jsonl") as log:
            for number, gazes in enumerate(played):
                log.append(game(logged_episode, f"q{number}", gazes))
    (row,) = named(["grpo"])
    validations = [tmp_path / f"validation-{step}.jsonl" for step in games]
    found = from_logs(row, 1, "a1", 90.0, [tmp_path / "a.jsonl", tmp_path / "b.jsonl"], validations)
    assert found.validation == {"accuracy": {2: 0.25, 3: 0.5}, "found": {2: 0.0, 3: 0.5}}
    assert (found.last("found"), found.steps) == (0.5, 3)
    assert found.training == {"gazes": {1: 1.25, 2: 1.25, 3: 1.25}}
    assert (found.minutes, found.tokens, found.accuracy) == (1.5, 3936, 0.5)  # 3 · 64 · 20.5

    write_result(tmp_path / "kept", found)
    assert read_result(tmp_path / "kept", "grpo", 1) == found
    assert read_results(tmp_path / "kept", ROWS) == {"grpo": [found]}
    assert read_result(tmp_path / "kept", "grpo", 0) is None
    with pytest.raises(ValueError, match="grpo, seed 0: its log shows no validation"):
        from_logs(row, 0, "a1", 1.0, [], [])
