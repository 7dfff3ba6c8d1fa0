"""MMMU's released test answers: the forms of the file, where it may lie, and what it leaves open."""

import json

import pytest

from medeyes_verl.data.readers.mmmu import PICTURES, app

CHOICE = "multiple-choice"


def question(encode, number: int, answer: str = "?", options: str = "['a', 'b']", kind: str = CHOICE):
    row = {"id": f"test_Pharmacy_{number}", "question": "<image 1>?", "options": options, "answer": answer}
    return {**row, "question_type": kind, **dict.fromkeys(PICTURES), "image_1": encode(number)}


@pytest.fixture
def source(tmp_path, snapshot, encode):
    table = [
        question(encode, 1),
        question(encode, 2, options="[]", kind="open"),
        question(encode, 3),
        question(encode, 4, answer="A"),
    ]
    return snapshot(tmp_path / "hub" / "Pharmacy", {"test-00000-of-00001": table}, PICTURES).parent


FULL = {
    "test_Pharmacy_1": {"question_type": CHOICE, "ground_truth": "B"},
    "test_Pharmacy_2": {"question_type": "short-answer", "ground_truth": ["5 mg", "5"]},
    "test_Pharmacy_9": {"question_type": CHOICE, "ground_truth": "A"},
    "test_Accounting_1": {"question_type": CHOICE, "ground_truth": "A"},
}
PLAIN = {name: value["ground_truth"] for name, value in FULL.items()}


def written(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


@pytest.mark.parametrize("form", [FULL, PLAIN])
@pytest.mark.parametrize("place", ["option", "beside", "mmmu"])
def test_released_answers_are_read(form, place, source, tmp_path, run, rows) -> None:
    folder = {"option": tmp_path, "beside": source, "mmmu": source / "mmmu"}[place]
    path = written(folder / "answer_dict_test.json", form)
    result = run(app, source, tmp_path / "out", *(["--answers", str(path)] if place == "option" else []))
    assert result.exit_code == 0, result.output
    found = {
        row["extra_info"]["id"]: row["reward_model"]["ground_truth"] for row in rows(tmp_path / "out" / "test.parquet")
    }
    assert found == {"test_Pharmacy_1": "B", "test_Pharmacy_2": "5 mg", "test_Pharmacy_4": "A"}
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["notes"] == {"answer without a row in the source": ["test_Pharmacy_9"]}
    [(reason, names)] = summary["splits"]["test"]["left_out"].items()
    assert (reason, len(names)) == ("answer withheld", 1)
    assert names[0].startswith("test_Pharmacy_3")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[", "is no readable JSON"),
        ("", "is empty"),
        ("version https://git-lfs.github.com/spec/v1\n", "is a git-lfs pointer"),
        ("[]", "is no object of answers by id"),
        ('{"test_Pharmacy_1": "A", "test_Pharmacy_1": "B"}', "holds test_Pharmacy_1 twice"),
        ({"test_Pharmacy_1": 3}, "test_Pharmacy_1 has the answer '3'"),
        ({"test_Pharmacy_1": []}, "test_Pharmacy_1 has the answer '[]'"),
        ({"test_Pharmacy_1": {"answer": "A"}}, "test_Pharmacy_1 lacks ground_truth"),
        ({"test_Pharmacy_1": {"ground_truth": "A", "question_type": "essay"}}, "question_type 'essay'"),
        ({"test_Pharmacy_4": "B"}, "has the answer ['A'], the answer file ['B']"),
        ({"validation_Pharmacy_1": "B"}, "has no answer to any of the 4 questions"),
    ],
)
def test_a_file_that_is_none_is_refused(value, message, source, tmp_path, run) -> None:
    path = written(tmp_path / "answers.json", value)
    result = run(app, source, tmp_path / "out", "--answers", str(path))
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert message in " ".join(result.output.split())


def test_an_answer_beyond_the_options_or_of_another_type_is_named(source, tmp_path, run) -> None:
    answers = {"test_Pharmacy_1": "C", "test_Pharmacy_3": {"question_type": "open", "ground_truth": "A"}}
    result = run(app, source, tmp_path / "out", "--answers", str(written(tmp_path / "answers.json", answers)))
    assert result.exit_code == 0, result.output
    left_out = json.loads((tmp_path / "out" / "summary.json").read_text())["splits"]["test"]["left_out"]
    assert {reason: names[0].split(" ")[0] for reason, names in left_out.items()} == {
        "answer 'C' is no letter of its options": "test_Pharmacy_1",
        "answer withheld": "test_Pharmacy_2",
        "another question type in the answer file": "test_Pharmacy_3",
    }
