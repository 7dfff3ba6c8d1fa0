"""SLAKE: languages, odd answers, regions, and its three forms; the real question files."""

import json
import zipfile

import pytest

from medeyes_verl.data.readers.slake import app, read
from medeyes_verl.reward.answer import is_correct


def entry(qid, image, question, answer, kind="OPEN", language="en"):
    return {
        "qid": qid,
        "img_id": image,
        "img_name": f"xmlab{image}/source.jpg",
        "question": question,
        "answer": answer,
        "q_lang": language,
        "location": "Lung",
        "modality": "CT",
        "answer_type": kind,
        "base_type": "vqa",
        "content_type": "Organ",
        "triple": ["vhead", "_", "_"],
    }


TRAIN = [
    entry(0, 1, "What modality is used?", "MRI"),
    entry(1, 1, "Is there a lesion?", "Yes", "CLOSED"),
    entry(2, 1, "Which lesion?", ""),
    entry(3, 2, "What is wrong?", "None"),
    entry(4, 2, "Which  organs?", "Lung,  Heart"),
    entry(5, 3, "这是什么？", "肺", language="zh"),
]
TEST = [entry(6, 3, "CT or MRI?", "CT", "CLOSED")]
BOXES = [{"Lung": [4.0, 5.0, 100.0, 10.5]}, {"Lung": [1.0, 1.0, 2.0, 2.0]}, {"Heart": []}]


@pytest.fixture
def archive(tmp_path, encode):
    folder = tmp_path / "archive" / "Slake1.0"
    for image in (1, 2, 3):
        (folder / "imgs" / f"xmlab{image}").mkdir(parents=True)
        (folder / "imgs" / f"xmlab{image}" / "source.jpg").write_bytes(encode(image))
    (folder / "imgs" / "xmlab1" / "detection.json").write_text(json.dumps(BOXES))
    (folder / "train.json").write_text(json.dumps(TRAIN))
    (folder / "test.json").write_text(json.dumps(TEST))
    return folder.parent


@pytest.fixture
def zipped(archive, tmp_path):
    folder = tmp_path / "zipped"
    folder.mkdir()
    for name in ("train.json", "test.json"):
        (folder / name).write_bytes((archive / "Slake1.0" / name).read_bytes())
    with zipfile.ZipFile(folder / "imgs.zip", "w") as file:
        for path in sorted((archive / "Slake1.0" / "imgs").rglob("*.*")):
            file.write(path, path.relative_to(archive / "Slake1.0"))
    return folder


def test_english_alone_is_taken_and_the_rest_counted(archive, tmp_path, run, rows, assert_healthy) -> None:
    result = run(app, archive, tmp_path / "out")
    assert result.exit_code == 0, result.output
    for split in ("train", "test"):
        assert_healthy(tmp_path / "out" / f"{split}.parquet")
    train = rows(tmp_path / "out" / "train.parquet")
    assert [(row["extra_info"]["id"], row["reward_model"]["ground_truth"]) for row in train] == [
        ("0", "MRI"),
        ("1", "Yes"),
        ("3", "None"),
        ("4", "Lung, Heart"),
    ]
    assert [row["extra_info"]["question_type"] for row in train] == ["open", "closed", "open", "open"]
    assert train[0]["extra_info"]["modality"] == "CT"
    assert train[0]["extra_info"]["location"] == "Lung"
    assert "1 × empty answer: 2" in result.output
    assert "1 × question in language 'zh': 5" in result.output
    assert "no leak: 0 of 1 test images are also in train" in result.output


def test_boxes_become_regions_inside_the_picture(archive, tmp_path, run, rows) -> None:
    run(app, archive, tmp_path / "out")
    regions = rows(tmp_path / "out" / "train.parquet")[0]["extra_info"]["regions"]
    assert regions == [
        {"x1": 4.0, "y1": 5.0, "x2": 48.0, "y2": 15.5, "label": "Lung", "target": False},
        {"x1": 1.0, "y1": 1.0, "x2": 3.0, "y2": 3.0, "label": "Lung", "target": False},
    ]
    assert rows(tmp_path / "out" / "train.parquet")[2]["extra_info"]["regions"] == []


def test_chinese_questions_leak_test_pictures_and_can_be_dropped(archive, tmp_path, run, rows) -> None:
    result = run(app, archive, tmp_path / "all", "--language", "all", "--strict")
    assert result.exit_code == 1
    assert "1 of 1 test images are also in train" in result.output
    assert not (tmp_path / "all" / "train.parquet").exists()
    result = run(app, archive, tmp_path / "all", "--language", "all", "--strict", "--drop-leaks")
    assert result.exit_code == 0, result.output
    assert len(rows(tmp_path / "all" / "train.parquet")) == 4
    assert "1 × image is in test: 5" in result.output
    assert run(app, archive, tmp_path / "zh", "--language", "zh").exit_code == 0
    assert rows(tmp_path / "zh" / "train.parquet")[0]["reward_model"]["ground_truth"] == "肺"


def test_folder_and_zip_give_equal_rows(archive, zipped, tmp_path, run, comparable) -> None:
    assert run(app, archive, tmp_path / "a").exit_code == 0
    result = run(app, zipped, tmp_path / "b")
    assert result.exit_code == 0, result.output
    for name in ("train.parquet", "test.parquet"):
        assert comparable(tmp_path / "a" / name) == comparable(tmp_path / "b" / name)


def test_a_parquet_snapshot_gives_the_rows_it_holds(archive, tmp_path, run, comparable, snapshot, encode) -> None:
    def cells(item):
        return {"image": encode(item["img_id"]), "question": item["question"], "answer": item["answer"]}

    english = [cells(item) for item in TRAIN if item["q_lang"] == "en"]
    hub = snapshot(tmp_path / "hub", {"train-00000-of-00001": english, "test-00000-of-00001": [cells(TEST[0])]})
    run(app, archive, tmp_path / "a")
    assert run(app, hub, tmp_path / "b").exit_code == 0
    unknown = ("id", "answer_type", "question_type", "modality", "location", "regions")
    for name in ("train.parquet", "test.parquet"):
        assert comparable(tmp_path / "a" / name, *unknown) == comparable(tmp_path / "b" / name, *unknown)


def test_damaged_boxes_are_named(archive, tmp_path, run) -> None:
    (archive / "Slake1.0" / "imgs" / "xmlab2" / "detection.json").write_text('[{"Lung": [1, 2]}]')
    result = run(app, archive, tmp_path / "out")
    assert result.exit_code == 1
    assert "xmlab2/detection.json is no list of boxes" in result.output


def test_the_real_question_files(real_data, tmp_path, run) -> None:
    source = real_data("slake")
    result = run(app, source, tmp_path)
    assert result.exit_code == 1
    assert "546 of 546 pictures of 5971 questions are missing, first" in result.output
    assert "xmlab1/source.jpg" in result.output
    result = run(app, source, tmp_path, "--allow-missing")
    assert result.exit_code == 1, "there is nothing to write without pictures"
    assert "no question is left to write" in result.output
    train = json.loads((tmp_path / "summary.json").read_text())["splits"]["train"]
    assert train["read"] == 9835
    assert {reason: len(names) for reason, names in train["left_out"].items()} == {
        "question in language 'zh'": 4916,
        "empty answer": 1,
        "picture missing or unreadable": 4918,
    }
    assert train["left_out"]["empty answer"] == ["1622 (train.json: entry 1622)"]


def test_every_real_answer_scores_against_itself(real_data) -> None:
    records = [record for record in read(real_data("slake")) if not record.left_out]
    assert len(records) == 4918 + 1053
    wrong = [record for record in records if not is_correct(record.answer, record.answer, record.question_type)]
    assert wrong == []


def test_the_real_questions_with_pictures_in_their_places(real_data, tmp_path, run, rows, encode) -> None:
    source = tmp_path / "slake"
    source.mkdir()
    for name in ("train.json", "validate.json"):
        (source / name).write_bytes((real_data("slake") / name).read_bytes())
        for number, item in enumerate(json.loads((source / name).read_text())):
            picture = source / "imgs" / item["img_name"]
            if not picture.exists():
                picture.parent.mkdir(parents=True, exist_ok=True)
                picture.write_bytes(encode(0) + f"{name} {number}".encode())
    result = run(app, source, tmp_path / "out", "--no-near-copies")
    assert result.exit_code == 0, result.output
    train, val = rows(tmp_path / "out" / "train.parquet"), rows(tmp_path / "out" / "val.parquet")
    assert (len(train), len(val)) == (4918, 1053)
    assert len({row["images"][0] for row in train}) == 450
    assert len({row["images"][0] for row in val}) == 96
    assert "no leak: 0 of 96 val images are also in train" in result.output
    assert sum(row["reward_model"]["ground_truth"] == "None" for row in train) > 0
