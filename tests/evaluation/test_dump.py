"""A validation's dump, cut into turns and played again."""

import json
from pathlib import Path
from typing import Any

import pytest

from medeyes_verl.evaluation.dump import read_dump
from medeyes_verl.evaluation.recipe import Recipe
from medeyes_verl.evaluation.run import read_tables
from medeyes_verl.gaze.geometry import Box

GAZE = '<reasoning>scan</reasoning>\n<action>{"name": "Gaze", "coordinate": [28, 28, 84, 84]}</action>'
FAULTY = "<reasoning>scan</reasoning>\n<action>{}</action>"
ANSWER = "<reasoning>seen</reasoning>\n<answer>yes</answer>"
CROP = "\nuser\n<feedback></feedback>\nassistant\n"
MALFORMED = 'Malformed action. Write {"name": "Gaze", "coordinate": [x1, y1, x2, y2]}.'
WORDS = f"\nuser\n<feedback>{MALFORMED}</feedback>\nassistant\n"


def dumped(number: int, output: str, **more: Any) -> dict[str, Any]:
    gts = ("yes", "ring", "B")[number % 3]
    options = "\nA. bar\nB. ring" if number % 3 == 2 else ""
    prompt = f"system\nThe rules.\nuser\nQuestion {number}?{options}\nassistant\n"
    return {"input": prompt, "output": output, "gts": gts, "score": 1.0, "step": 12, "acc": 1.0, **more}


def write(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_turns_boxes_and_scores_come_back(tmp_path: Path, table: Path, recipe: Recipe) -> None:
    path = write(tmp_path / "12.jsonl", dumped(0, GAZE + CROP + FAULTY + WORDS + ANSWER), dumped(2, ANSWER, acc=0.0))
    found = read_dump(path, read_tables([table]), recipe)
    first, second = found.episodes
    assert (first.id, first.model, first.scores.acc) == ("q0", "step 12", 1.0)
    assert [turn.text for turn in first.trace.turns] == [GAZE, FAULTY, ANSWER]
    assert [turn.box for turn in first.trace.turns] == [Box(56, 56, 168, 168), None, None]
    assert first.trace.turns[1].feedback == MALFORMED
    assert (second.id, second.scores.acc) == ("q2", 0.0)
    assert found.disagreeing == 0


def test_an_outcome_that_training_saw_otherwise_is_counted(tmp_path: Path, table: Path, recipe: Recipe) -> None:
    path = write(tmp_path / "12.jsonl", dumped(0, ANSWER, acc=0.0), dumped(1, ANSWER, acc=0.0))
    assert read_dump(path, read_tables([table]), recipe).disagreeing == 1


def test_rollouts_of_a_question_are_its_samples(tmp_path: Path, table: Path, recipe: Recipe) -> None:
    path = write(tmp_path / "12.jsonl", dumped(0, ANSWER), dumped(3, ANSWER), dumped(0, GAZE))
    found = read_dump(path, read_tables([table]), recipe).episodes
    assert [(each.id, each.sample) for each in found] == [("q0", 0), ("q3", 0), ("q0", 1)]
    assert found[2].trace.finish == "truncated", "its text ends without an answer"


def test_a_row_is_found_by_its_id_where_the_dump_has_it(tmp_path: Path, table: Path, recipe: Recipe) -> None:
    path = write(tmp_path / "12.jsonl", {**dumped(0, ANSWER), "input": "anything", "id": "q3"})
    assert read_dump(path, read_tables([table]), recipe).episodes[0].id == "q3"


def test_a_rollout_that_no_row_or_several_could_be(tmp_path: Path, table: Path, recipe: Recipe) -> None:
    rows = read_tables([table])
    path = write(tmp_path / "12.jsonl", dumped(0, ANSWER), dumped(99, ANSWER))
    with pytest.raises(ValueError, match=r"12\.jsonl, line 2: no row of the tables is it"):
        read_dump(path, rows, recipe)
    with pytest.raises(ValueError, match="line 1: 2 rows of the tables could be it"):
        read_dump(path, rows + rows, recipe)


@pytest.mark.parametrize("line", ["{}", "[]", "x", "1", '{"output": 3}', '{"output": "a"}', "[" * 100_000])
def test_a_line_that_is_no_rollout_is_named(tmp_path: Path, table: Path, recipe: Recipe, line: str) -> None:
    path = tmp_path / "12.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=r"12\.jsonl, line 1"):
        read_dump(path, read_tables([table]), recipe)


def test_an_empty_dump_is_an_error(tmp_path: Path, table: Path, recipe: Recipe) -> None:
    with pytest.raises(ValueError, match="holds no rollout"):
        read_dump(write(tmp_path / "12.jsonl"), read_tables([table]), recipe)
