"""The doctor's checks of tables and models: each fault is found, named, and told how to fix."""

import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from medeyes_verl.doctor import images
from medeyes_verl.doctor.check import Finding
from medeyes_verl.doctor.inputs import table
from medeyes_verl.doctor.model import model
from medeyes_verl.doctor.table import Completion, Table

Rows = list[dict[str, Any]]
Damage = Callable[[Callable[[Rows], object]], Path]
Failed = Callable[[Iterable[Finding]], list[Finding]]


def test_a_good_table_passes(prepared: Path, failed: Failed) -> None:
    assert failed(table(prepared)) == []


def extra(row: int, **values: object) -> Callable[[Rows], object]:
    return lambda rows: rows[row]["extra_info"].update(values)


def truth(*answers: object) -> Callable[[Rows], object]:
    def change(rows: Rows) -> None:
        for row, answer in zip(rows, answers, strict=False):
            row["reward_model"] = {"style": "rule", "ground_truth": answer}

    return change


def every_truth(answer: object) -> Callable[[Rows], object]:
    return truth(*[answer] * 4)


def every(key: str, value: object) -> Callable[[Rows], object]:
    return lambda rows: [row.update({key: value}) for row in rows]


def without(key: str) -> Callable[[Rows], object]:
    return lambda rows: [row.pop(key) for row in rows]


def without_extra(key: str) -> Callable[[Rows], object]:
    return lambda rows: [row["extra_info"].pop(key) for row in rows]


def prompt(text: str) -> Callable[[Rows], object]:
    return lambda rows: rows[1].update(prompt=[{"role": "user", "content": text}])


DAMAGE: dict[str, tuple[Callable[[Rows], object], str, str]] = {
    "no rows": (lambda rows: rows.clear(), "readable|rows|columns", ""),
    "answer None": (truth("ring", None), "every row has an answer", "row 1"),
    "answer NaN": (every_truth(float("nan")), "every row has an answer", "ground_truth is nan, not text"),
    "answer nan as text": (truth("ring", "NaN"), "every row has an answer", "row 1"),
    "answer empty": (truth("ring", " "), "every row has an answer", "row 1"),
    "answer a number": (every_truth(3), "every row has an answer", "ground_truth is 3"),
    "answer a list": (every_truth(["yes", "no"]), "every row has an answer", "['yes', 'no']"),
    "answer a list as text": (truth("['yes', 'no']"), "every row has an answer", "a list turned into text"),
    "reward_model a text": (every("reward_model", "ring"), "every row has an answer", "4 rows"),
    "no reward_model": (without("reward_model"), "columns", "reward_model missing"),
    "no extra_info": (without("extra_info"), "columns", "extra_info missing"),
    "no images": (without("images"), "columns", "images missing"),
    "no prompt": (without("prompt"), "columns", "prompt missing"),
    "unknown question_type": (extra(1, question_type="essay"), "every answer can be scored", "essay"),
    "letter without options": (extra(1, question_type="multiple_choice"), "every answer can be scored", "row 1"),
    "one number as every id": (
        lambda rows: [row["extra_info"].update(id=3) for row in rows],
        "ids are unique",
        "shares id '3'",
    ),
    "no data_source": (every("data_source", None), "every row names its data_source", "4 rows"),
    "prompt a text": (every("prompt", "What is it?"), "prompts are messages", "4 rows"),
    "prompt empty": (lambda rows: rows[1].update(prompt=[]), "prompts are messages", "row 1"),
    "prompt ends with the answer": (
        lambda rows: rows[1]["prompt"].append({"role": "assistant", "content": "ring"}),
        "prompts are messages",
        "role 'assistant'",
    ),
    "no place": (prompt("What is it?"), "<image> places equal images", "0 places for 1 images"),
    "two places": (prompt("<image><image>What?"), "<image> places equal images", "2 places for 1 images"),
    "no image": (lambda rows: rows[1].update(images=[]), "<image> places equal images", "it has no image"),
    "image None": (lambda rows: rows[1].update(images=[None]), "images can be read", "row 1"),
    "image gone": (lambda rows: rows[1].update(images=["gone.png"]), "images can be read", "gone.png"),
    "image bytes damaged": (
        lambda rows: [row.update(images=[{"bytes": b"no image", "path": None}]) for row in rows],
        "images can be read",
        "4 images",
    ),
    "image size of another": (
        extra(1, image_sizes=[{"width": 10, "height": 448}]),
        "image sizes are those of the images",
        "448×448, not (10, 448)",
    ),
    "id twice": (
        lambda rows: rows[1]["extra_info"].update(id=rows[0]["extra_info"]["id"]),
        "ids are unique",
        "another question, row 0",
    ),
    "expert id twice": (
        lambda rows: rows[1]["extra_info"].update(expert_id=rows[0]["extra_info"]["expert_id"]),
        "expert ids are unique",
        "another question, row 0",
    ),
    "expert in a validation row": (extra(1, split="val"), "experts only in training rows", "row 1"),
    "expert without a split": (without_extra("split"), "experts only in training rows", "split None"),
    "expert id a number": (
        lambda rows: [row["extra_info"].update(expert_id=7) for row in rows],
        "experts only in training rows",
        "expert_id is 7",
    ),
    "expert unknown to the store": (extra(1, expert_id="nobody"), "has the experts", "1 questions not: nobody"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named(damage: Damage, failed: Failed, name: str) -> None:
    change, subject, seen = DAMAGE[name]
    found = failed(table(damage(change)))
    named = [each for each in found if any(part in each.subject for part in subject.split("|"))]
    assert named, [(each.subject, each.seen) for each in found]
    assert seen in named[0].seen
    assert len(found) <= 2, [(each.subject, each.seen) for each in found]


@pytest.mark.parametrize("content", [b"", b"not a parquet file"])
def test_a_damaged_file_is_one_clear_finding(tmp_path: Path, failed: Failed, content: bytes) -> None:
    path = tmp_path / "broken.parquet"
    path.write_bytes(content)
    (finding,) = failed(table(path))
    assert str(path) in finding.subject


def test_a_missing_file_is_one_clear_finding(tmp_path: Path, failed: Failed) -> None:
    (finding,) = failed(table(tmp_path / "absent.parquet"))
    assert "absent.parquet" in finding.subject


def test_a_file_cut_off_in_the_middle_is_a_finding(prepared: Path, failed: Failed) -> None:
    content = bytearray(prepared.read_bytes())
    content[10 : len(content) // 2] = bytes(len(content) // 2 - 10)
    prepared.write_bytes(content)
    assert failed(table(prepared))


def test_images_kept_in_the_table_are_read(damage: Damage, failed: Failed) -> None:
    def embed(rows: Rows) -> None:
        for row in rows:
            row["images"] = [{"bytes": Path(row["images"][0]).read_bytes(), "path": None}]

    assert failed(table(damage(embed))) == []


def test_a_row_that_a_mixture_repeats_is_no_fault(damage: Damage, failed: Failed) -> None:
    path = damage(lambda rows: rows.append(rows[0]))
    findings = list(table(path))
    assert failed(findings) == []
    assert any("1 rows repeat an earlier one" in each.seen for each in findings)


def test_beyond_a_limit_only_headers_are_read_and_that_is_said(
    prepared: Path, failed: Failed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "DECODED", 1)
    turned = Image.Exif()
    turned[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("L", (30, 20)).save(buffer, "JPEG", exif=turned)
    rows = pq.read_table(prepared).to_pylist()
    rows[3]["images"] = [str(prepared.parent / "turned.jpg")]
    rows[3]["extra_info"]["image_sizes"] = [{"width": 20, "height": 30}]
    (prepared.parent / "turned.jpg").write_bytes(buffer.getvalue())
    pq.write_table(pa.Table.from_pylist(rows), prepared)
    findings = list(table(prepared))
    assert failed(findings) == []
    assert any("4 images, 1 decoded, the headers of the other 3" in each.seen for each in findings)


def test_keys_that_are_completed_at_load_are_counted(damage: Damage, failed: Failed) -> None:
    """A table made for stock veRL: what the trainer would add is said; the rest is checked as the trainer sees it."""

    def complete(number: int, row: Mapping[str, Any]) -> Completion:
        return Completion({**row, "extra_info": {**row["extra_info"], "question_type": "open"}}, ("question_type",))

    path = damage(without_extra("question_type"))
    findings = list(Table(path, path.parent, complete).findings())
    assert failed(findings) == []
    assert any("question_type inferred in 4 rows" in each.seen for each in findings)

    def refuse(number: int, row: Mapping[str, Any]) -> Completion:
        raise ValueError("it is of a kind that nothing can complete")

    (finding, *_) = failed(Table(damage(extra(0, split="train")), path.parent, refuse).findings())
    assert "4 rows" in finding.seen


def test_a_table_made_for_stock_verl_is_completed(damage: Damage, failed: Failed) -> None:
    """geometry3k's columns: no id, no question_type, no options."""

    def stock(rows: Rows) -> None:
        for row in rows:
            row["extra_info"] = {"split": "train", "index": row["extra_info"]["index"], "answer": "x"}

    findings = list(table(damage(stock)))
    assert failed(findings) == []
    (completed,) = [each for each in findings if "completed at load" in each.subject]
    assert "id inferred in 4 rows, question inferred in 4 rows, question_type inferred in 4 rows" in completed.seen


def test_a_folder_without_a_processor_is_one_clear_finding(tmp_path: Path, failed: Failed) -> None:
    (finding,) = failed(model(str(tmp_path)))
    assert "vision-language model" in finding.remedy
