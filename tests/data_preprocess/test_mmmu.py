"""MMMU Health & Medicine: several pictures, placeholders, options that are Python text, withheld answers."""

import json

import pytest

from medeyes_verl.data.readers.mmmu import PICTURES, app


def question(name, text, options, answer, images, kind="multiple-choice"):
    cells = {"id": name, "question": text, "options": options, "answer": answer, "question_type": kind}
    return {**cells, **{column: images.get(column) for column in PICTURES}}


@pytest.fixture
def tables(encode):
    one, two, three = encode(1, "PNG"), encode(2, "PNG", mode="RGBA"), encode(3)
    return {
        "Pharmacy": {
            "dev-00000-of-00001": [
                question("dev_Pharmacy_1", "Is <image 1> it?", "['Yes', \"Don't know\"]", "B", {"image_1": one})
            ],
            "validation-00000-of-00001": [
                question(
                    "validation_Pharmacy_1",
                    "Compare <image 1> and <image 3>.\nWhich?",
                    "['<image 3>', '<image 1>', '[a, b]']",
                    "A",
                    {"image_1": one, "image_3": three},
                ),
                question("validation_Pharmacy_2", "Dose in <image 1>?", "[]", "['5', '5.0']", {"image_1": two}, "open"),
                question("validation_Pharmacy_3", "No picture?", "['a', 'b']", "A", {}),
                question("validation_Pharmacy_4", "Bad <image 1>?", "['a', 'b']", "C", {"image_1": one}),
            ],
            "test-00000-of-00001": [
                question("test_Pharmacy_1", "What is <image 1>?", "['a', 'b']", "?", {"image_1": one})
            ],
        },
        "Public_Health": {
            "validation-00000-of-00001": [
                question("validation_Public_Health_1", "<image 1>?", "['a', 'b']", "B", {"image_1": three})
            ],
        },
        "Accounting": {
            "validation-00000-of-00001": [
                question("validation_Accounting_1", "<image 1>?", "['a', 'b']", "B", {"image_1": three})
            ],
        },
    }


@pytest.fixture
def by_subject(tables, tmp_path, snapshot):
    for subject, files in tables.items():
        snapshot(tmp_path / "hub" / subject, files, PICTURES)
    return tmp_path / "hub"


def test_pictures_placeholders_and_options(by_subject, tmp_path, run, rows, assert_healthy) -> None:
    result = run(app, by_subject, tmp_path / "out")
    assert result.exit_code == 0, result.output
    for split in ("train", "val"):
        assert_healthy(tmp_path / "out" / f"{split}.parquet")
    [train] = rows(tmp_path / "out" / "train.parquet")
    assert train["extra_info"]["options"] == ["Yes", "Don't know"]
    assert train["reward_model"]["ground_truth"] == "B"
    several, open_one, other = rows(tmp_path / "out" / "val.parquet")
    assert several["prompt"][0]["content"] == (
        "<image><image>Compare [image 1] and [image 2].\nWhich?\nA. [image 2]\nB. [image 1]\nC. [a, b]"
    )
    assert len(several["images"]) == len(several["extra_info"]["image_sizes"]) == 2
    assert (open_one["reward_model"]["ground_truth"], open_one["extra_info"]["question_type"]) == ("5", "open")
    assert other["extra_info"]["id"] == "validation_Public_Health_1"


def test_what_is_left_out_is_counted_and_named(by_subject, tmp_path, run) -> None:
    result = run(app, by_subject, tmp_path / "out")
    splits = json.loads((tmp_path / "out" / "summary.json").read_text())["splits"]
    assert splits["val"]["left_out"] == {
        "other subject": ["validation_Accounting_1 (data/validation-00000-of-00001.parquet: row 0)"],
        "no picture": ["validation_Pharmacy_3 (data/validation-00000-of-00001.parquet: row 2)"],
        "answer 'C' is no letter of its options": [
            "validation_Pharmacy_4 (data/validation-00000-of-00001.parquet: row 3)"
        ],
    }
    assert splits["test"]["left_out"] == {
        "answer withheld": ["test_Pharmacy_1 (data/test-00000-of-00001.parquet: row 0)"]
    }
    assert not (tmp_path / "out" / "test.parquet").exists()
    assert "1 × the first of several accepted answers" in result.output


def test_one_folder_for_all_subjects_gives_equal_rows(by_subject, tables, tmp_path, run, comparable, snapshot) -> None:
    flat: dict[str, list] = {}
    for files in tables.values():
        for name, cells in files.items():
            flat.setdefault(name, []).extend(cells)
    assert run(app, by_subject, tmp_path / "a").exit_code == 0
    result = run(app, snapshot(tmp_path / "flat", flat, PICTURES), tmp_path / "b")
    assert result.exit_code == 0, result.output
    for name in ("train.parquet", "val.parquet"):
        assert comparable(tmp_path / "a" / name) == comparable(tmp_path / "b" / name)


@pytest.mark.parametrize(
    "options", ["__import__('os').getcwd()", "['a', 'b'", "{'a': 1}", "'" + "x" * 30000 + "'", "(" * 900]
)
def test_options_are_read_and_never_run(tmp_path, run, snapshot, encode, options) -> None:
    cells = question("dev_Pharmacy_9", "<image 1>?", options, "A", {"image_1": encode(1)})
    source = snapshot(tmp_path / "hub", {"dev-00000-of-00001": [cells]}, PICTURES)
    result = run(app, source, tmp_path / "out")
    assert result.exit_code == 1
    assert "dev_Pharmacy_9" in result.output
    assert "is not a list" in result.output


def test_a_snapshot_without_a_column_is_named(tmp_path, run, snapshot, encode) -> None:
    source = snapshot(tmp_path / "hub", {"dev-00000-of-00001": [{"id": "a", "image_1": encode(1)}]}, PICTURES)
    result = run(app, source, tmp_path / "out")
    assert result.exit_code == 1
    assert "lacks the columns question, options, answer, question_type, image_2" in result.output
