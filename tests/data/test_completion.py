"""Rows of other people's tables: what is inferred, what is kept, what is refused and how."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medeyes_verl.data.completion import RowRefusedError, complete, names_are_unique, options_in, table_problems
from medeyes_verl.data.phantom import PhantomSettings, make_phantom_row
from medeyes_verl.data.row import EXTRA_INFO, write_rows


def row(truth: Any = "3", question: str = "How many?", extra: Any = None, **others: Any) -> dict[str, Any]:
    return {
        "data_source": "geometry3k",
        "prompt": [{"role": "system", "content": "Think."}, {"role": "user", "content": f"<image>{question}"}],
        "images": [{"bytes": b"PNG", "path": None}],
        "reward_model": {"style": "rule", "ground_truth": truth},
        "extra_info": extra,
        **others,
    }


LETTERED = "Which organ?\nA. Lung\nB. Heart\n(C) Liver"


@pytest.mark.parametrize(
    ("truth", "question", "extra", "kind", "compared", "options"),
    [
        ("3", "How many?", None, "open", "3", []),
        ("Yes", "Is it?", {}, "closed", "Yes", []),
        ("no.", "Is it?", {"index": 3}, "closed", "no.", []),
        ("B", LETTERED, None, "multiple_choice", "B", ["Lung", "Heart", "Liver"]),
        ("(B)", LETTERED, None, "multiple_choice", "B", ["Lung", "Heart", "Liver"]),
        ("heart", LETTERED, None, "multiple_choice", "B", ["Lung", "Heart", "Liver"]),
        ("Spleen", LETTERED, None, "open", "Spleen", []),
        ("B", "Which?", {"options": ["x", "y"]}, "multiple_choice", "B", ["x", "y"]),
        ("y", "Which?", {"options": np.array(["x", "y"])}, "multiple_choice", "B", ["x", "y"]),
        ("A", "Which?", {"options": '{"A": "x", "B": "y"}'}, "multiple_choice", "A", ["x", "y"]),
        ("A", "Which?", {"options": {"A": "x", "B": "y", "C": None}}, "multiple_choice", "A", ["x", "y"]),
        ("B", "Which vitamin?", None, "open", "B", []),
        ("yes", "Is it? A: yes B: no", None, "multiple_choice", "A", ["yes", "no"]),
        ("yes", "Is it?", {"question_type": "open"}, "open", "yes", []),
    ],
)
def test_type_options_and_truth_are_inferred(
    truth: str, question: str, extra: Any, kind: str, compared: str, options: list[str]
) -> None:
    completed = complete(row(truth, question, extra))
    assert completed.extra_info["question_type"] == kind
    assert completed.ground_truth == compared
    assert completed.extra_info["options"] == options
    assert completed.extra_info["question"] == question
    assert {field.name for field in EXTRA_INFO} <= completed.extra_info.keys()


def test_names_come_from_id_then_from_what_the_caller_knows_then_from_index() -> None:
    assert complete(row(extra={"id": 7, "index": 1}), "row-9").extra_info["id"] == "7"
    assert complete(row(extra={"index": 1}), "row-9").extra_info["id"] == "row-9"
    assert complete(row(extra={"index": 0})).extra_info["id"] == "0"


def test_what_a_row_says_itself_stays(tmp_path: Path) -> None:
    own = make_phantom_row(PhantomSettings(), "val", 0, tmp_path).as_dict(0)
    completed = complete(own)
    assert completed.extra_info == own["extra_info"]
    assert completed.ground_truth == own["reward_model"]["ground_truth"]
    assert complete(row(extra={"tool": {"a": 1}})).extra_info["tool"] == {"a": 1}


def test_a_prompt_in_verls_form_is_read_too() -> None:
    content = [{"type": "image", "image": object()}, {"type": "text", "text": LETTERED}]
    asked = row("A", extra={}) | {"raw_prompt": [{"role": "user", "content": content}]}
    assert complete(asked).extra_info["options"] == ["Lung", "Heart", "Liver"]


@pytest.mark.parametrize(
    ("given", "key", "reason"),
    [
        (row() | {"reward_model": None}, "reward_model.ground_truth", "there is none"),
        (row(None), "reward_model.ground_truth", "there is none"),
        (row(float("nan")), "reward_model.ground_truth", "nan is no text but a float"),
        (row(3), "reward_model.ground_truth", "3 is no text but a int"),
        (row(["yes"]), "reward_model.ground_truth", "is no text but a list"),
        (row("  "), "reward_model.ground_truth", "it is empty"),
        (row("D", LETTERED, {"question_type": "multiple_choice"}), "reward_model.ground_truth", "no letter of its 3"),
        (row(extra={"question_type": "riddle"}), "extra_info.question_type", "'riddle' is unknown"),
    ],
)
def test_what_nothing_can_stand_in_for_is_refused(given: dict[str, Any], key: str, reason: str) -> None:
    with pytest.raises(RowRefusedError, match=reason) as raised:
        complete(given)
    assert raised.value.key == key


def test_a_letter_in_a_sentence_is_no_option() -> None:
    assert options_in("Hepatitis A. is shown. Is it B. or C.?") == []
    assert options_in("A. only one") == []
    assert options_in("Look at fig. A. Then:\nA. one\nB. two") == ["one", "two"]


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "table.parquet"
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def test_a_table_that_can_be_completed_has_no_problems(tmp_path: Path) -> None:
    assert table_problems(written(tmp_path, row(), row("yes"))) == []
    lines = tmp_path / "table.jsonl"
    lines.write_text(json.dumps(row() | {"images": ["a.png"]}) + "\n", encoding="utf-8")
    assert table_problems(lines) == []
    write_rows(tmp_path / "own.parquet", [make_phantom_row(PhantomSettings(), "val", 0, tmp_path)])
    assert table_problems(tmp_path / "own.parquet") == []
    assert names_are_unique(tmp_path / "own.parquet")


def test_problems_are_counted_and_named_with_file_row_key_and_remedy(tmp_path: Path) -> None:
    without = row(extra={"index": 5})
    without["images"] = []
    two = row(extra={"index": 6})
    two["images"] = two["images"] * 2
    path = written(tmp_path, row(extra={"index": 1}), row("", extra={"index": 4}), without, two)
    truth, images = table_problems(path)
    assert str(path) in truth
    assert "reward_model.ground_truth: 1 of 4 rows" in truth
    assert "row 1 (4): it is empty; write the correct answer" in truth
    assert "images: 2 of 4 rows cannot be used: row 2 (5): 0 images for 1 <image>" in images
    assert "row 3 (6): 2 images for 1 <image>" in images


def test_an_empty_or_unreadable_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    with pytest.raises(ValueError, match=r"broken.parquet is not a readable table"):
        table_problems(tmp_path / "broken.parquet")
    (tmp_path / "empty.jsonl").write_text("")
    assert "the table has no rows" in table_problems(tmp_path / "empty.jsonl")[0]


@pytest.mark.parametrize(
    ("extras", "unique"),
    [
        ([{"index": 0}, {"index": 1}], True),
        ([{"index": 0}, {"index": 0}], False),
        ([{"index": None, "id": "a"}, {"index": 3, "id": None}], True),
        ([None, None], False),
    ],
)
def test_names_of_a_table_are_unique_or_not(extras: list[Any], unique: bool, tmp_path: Path) -> None:
    assert names_are_unique(written(tmp_path, *(row(extra=extra) for extra in extras))) == unique
