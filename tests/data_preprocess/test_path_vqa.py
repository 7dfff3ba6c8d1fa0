"""PathVQA: both forms, CMYK pictures, and pickles that must not run."""

import os
import pickle
from pathlib import Path

import pytest
from PIL import Image

from medeyes_verl.data.image_source import SourceError
from medeyes_verl.data.readers.path_vqa import app, read_plain_pickle

QUESTIONS = {
    "train": [
        {"image": "train_0001", "question": "What is present?", "answer": "necrosis"},
        {"image": "train_0001", "question": "Is it benign?", "answer": "no"},
        {"image": "train_0002", "question": "Is it benign?", "answer": "yes"},
        {"image": "train_0001", "question": "Is it benign?", "answer": "no"},
    ],
    "val": [{"image": "val_0001", "question": "How many?", "answer": 2}],
    "test": [{"image": "test_0001", "question": "Where?", "answer": "in the  liver"}],
}
SEEDS = {"train_0001": 1, "train_0002": 2, "val_0001": 3, "test_0001": 4}


@pytest.fixture
def archive(tmp_path, encode):
    root = tmp_path / "archive" / "pvqa"
    for split, questions in QUESTIONS.items():
        (root / "qas" / split).mkdir(parents=True)
        (root / "images" / split).mkdir(parents=True)
        (root / "qas" / split / f"{split}_qa.pkl").write_bytes(pickle.dumps(questions, protocol=2))
    for name, seed in SEEDS.items():
        mode = "CMYK" if name == "train_0002" else "RGB"
        (root / "images" / name.split("_")[0] / f"{name}.jpg").write_bytes(encode(seed, mode=mode))
    return root.parent


def test_the_archive_becomes_rows(archive, tmp_path, run, rows, assert_healthy) -> None:
    result = run(app, archive, tmp_path / "out", "--drop-duplicates")
    assert result.exit_code == 0, result.output
    for split in ("train", "test"):
        assert_healthy(tmp_path / "out" / f"{split}.parquet")
    train = rows(tmp_path / "out" / "train.parquet")
    assert [row["reward_model"]["ground_truth"] for row in train] == ["necrosis", "no", "yes"]
    assert [row["extra_info"]["question_type"] for row in train] == ["open", "closed", "closed"]
    assert "1 × duplicate question" in result.output
    assert rows(tmp_path / "out" / "val.parquet")[0]["reward_model"]["ground_truth"] == "2"
    with Image.open(train[2]["images"][0]) as picture:
        assert (picture.mode, picture.format) == ("RGB", "PNG"), "a CMYK picture is made RGB"


def test_both_forms_give_equal_rows(archive, tmp_path, run, comparable, snapshot, encode) -> None:
    def cells(item):
        image = encode(SEEDS[item["image"]], mode="CMYK" if item["image"] == "train_0002" else "RGB")
        return {"image": image, "question": item["question"], "answer": str(item["answer"])}

    tables = {
        f"{name}-00000-of-00001-ab12": [cells(item) for item in QUESTIONS[split]]
        for name, split in (("train", "train"), ("validation", "val"), ("test", "test"))
    }
    assert run(app, archive, tmp_path / "a").exit_code == 0
    result = run(app, snapshot(tmp_path / "hub", tables), tmp_path / "b")
    assert result.exit_code == 0, result.output
    for name in ("train.parquet", "val.parquet", "test.parquet"):
        assert comparable(tmp_path / "a" / name) == comparable(tmp_path / "b" / name)


class Attack:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(archive, tmp_path, run, protocol) -> None:
    path = archive / "pvqa" / "qas" / "train" / "train_qa.pkl"
    path.write_bytes(pickle.dumps([{"image": Attack(tmp_path / "ran")}], protocol=protocol))
    result = run(app, archive, tmp_path / "out")
    assert result.exit_code == 1
    assert "train_qa.pkl is no plain pickle of questions" in result.output
    assert "mkdir" in result.output
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty; download it again"),
        (pickle.dumps([{"image": "a"}])[:-3], "no plain pickle"),
        (b"not a pickle", "no plain pickle"),
        (b"]r\xff\xff\xff\xff.", "memory beyond its own size"),
        (b"\x80\x02\x82\x01.", "no plain pickle"),
        (b"\x80\x02Phello\n.", "no plain pickle"),
        (pickle.dumps({"image": "a"}), "not a list of questions"),
        (pickle.dumps(["a"]), "not a list of questions"),
        (pickle.dumps([{"image": "a", "question": "b"}]), "entry 0 lacks answer"),
        (pickle.dumps([{"image": {1, 2}, "question": frozenset((1,)), "answer": b"x", "x": print}]), "no plain pickle"),
    ],
)
def test_other_pickles_are_refused(tmp_path, data, message) -> None:
    path = tmp_path / "train_qa.pkl"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=message):
        read_plain_pickle(path)


def test_a_picture_name_cannot_climb_out(archive, tmp_path, run) -> None:
    path = archive / "pvqa" / "qas" / "train" / "train_qa.pkl"
    path.write_bytes(pickle.dumps([{"image": "../../../secret", "question": "a", "answer": "b"}]))
    result = run(app, archive, tmp_path / "out")
    assert result.exit_code == 1
    assert "names a picture outside itself" in result.output
