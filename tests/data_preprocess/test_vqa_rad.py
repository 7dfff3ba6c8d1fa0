"""VQA-RAD from the real archive, and from small sources in both published forms."""

import json
from collections import Counter
from pathlib import Path

import pytest

from medeyes_verl.data.readers.vqa_rad import IMAGES, QUESTIONS, app, read
from medeyes_verl.reward.answer import is_correct


def entry(qid: object, phrase: str, image: str, question: str, answer: object, kind: str = "OPEN") -> dict[str, object]:
    return {
        "qid": qid,
        "phrase_type": phrase,
        "image_name": image,
        "image_organ": "CHEST",
        "question": question,
        "answer": answer,
        "answer_type": kind,
        "question_type": "PRSE",
    }


ENTRIES = [
    entry("0", "freeform", "synpic1.jpg", "Is it normal?", "Yes", "CLOSED "),
    entry(1, "para", "synpic2.jpg", "How many\tlesions  are there?", 4),
    entry(2, "para", "synpic1.jpg", "Where?", "lungs \tbony thorax"),
    entry(3, "test_freeform", "synpic1.jpg", "Is it\ufffds left or right?", "Left", "CLOSED"),
    entry(4, "test_para", "synpic3.jpg", "How can you tell if it\ufffds a duct?", "None"),
]


@pytest.fixture
def archive(tmp_path, encode):
    folder = tmp_path / "archive"
    (folder / IMAGES).mkdir(parents=True)
    for number in (1, 2, 3):
        (folder / IMAGES / f"synpic{number}.jpg").write_bytes(encode(number))
    (folder / QUESTIONS).write_text(json.dumps(ENTRIES))
    return folder


@pytest.fixture
def hub(tmp_path, encode, snapshot):
    tables = {"train-00000-of-00001-eb8844602202be60": [], "test-00000-of-00001-e5bc3d208bb4deeb": []}
    for item in ENTRIES:
        name = next(name for name in tables if name.startswith("test") == str(item["phrase_type"]).startswith("test"))
        number = int(str(item["image_name"])[6])
        tables[name].append(
            {"image": encode(number), "question": item["question"], "answer": str(item["answer"])},
        )
    return snapshot(tmp_path / "hub", tables)


def test_the_archive_becomes_rows(archive, tmp_path, run, rows, assert_healthy) -> None:
    result = run(app, archive, tmp_path / "out")
    assert result.exit_code == 0, result.output
    for split in ("train", "test"):
        assert_healthy(tmp_path / "out" / f"{split}.parquet")
    train, test = rows(tmp_path / "out" / "train.parquet"), rows(tmp_path / "out" / "test.parquet")
    assert [row["extra_info"]["id"] for row in train] == ["0", "1", "2"]
    assert [row["reward_model"]["ground_truth"] for row in train] == ["Yes", "4", "lungs bony thorax"]
    assert [row["extra_info"]["question_type"] for row in train] == ["closed", "open", "open"]
    assert train[0]["extra_info"]["answer_type"] == "CLOSED"
    assert train[1]["prompt"] == [{"role": "user", "content": "<image>How many lesions are there?"}]
    assert train[0]["images"] == train[2]["images"] == test[0]["images"]
    assert Path(train[0]["images"][0]).is_file()
    assert train[0]["extra_info"]["image_sizes"] == [{"width": 48, "height": 40}]
    assert train[0]["extra_info"]["expert_id"] is None
    assert test[0]["extra_info"]["question_type"] == "closed", "the archive calls Left or Right closed"
    assert test[1]["extra_info"]["question"] == "How can you tell if it's a duct?"
    assert test[1]["reward_model"]["ground_truth"] == "None"


def test_both_forms_give_equal_rows(archive, hub, tmp_path, run, comparable) -> None:
    assert run(app, archive, tmp_path / "a").exit_code == 0
    result = run(app, hub, tmp_path / "b")
    assert result.exit_code == 0, result.output
    unknown = ("id", "organ", "answer_type", "question_type")  # a snapshot does not hold them
    for name in ("train.parquet", "test.parquet"):
        assert comparable(tmp_path / "a" / name, *unknown) == comparable(tmp_path / "b" / name, *unknown)


def test_ids_of_a_snapshot_depend_on_the_content_alone(hub, tmp_path, run, rows) -> None:
    run(app, hub, tmp_path / "a")
    run(app, hub, tmp_path / "b", "--drop-leaks")
    ids = {row["extra_info"]["question"]: row["extra_info"]["id"] for row in rows(tmp_path / "a" / "train.parquet")}
    assert len(set(ids.values())) == 3
    kept = rows(tmp_path / "b" / "train.parquet")
    assert [row["extra_info"]["id"] for row in kept] == [ids["How many lesions are there?"]]
    assert kept[0]["extra_info"]["index"] == 0


def test_only_training_rows_carry_experts(archive, tmp_path, run, rows) -> None:
    run(app, archive, tmp_path / "out", "--expert-ids", "--val-fraction", "0.5")
    experts = {
        split: [row["extra_info"]["expert_id"] for row in rows(tmp_path / "out" / f"{split}.parquet")]
        for split in ("train", "val", "test")
    }
    assert experts["train"]
    assert all(expert.startswith("vqa_rad/") for expert in experts["train"])
    assert set(experts["val"]) == set(experts["test"]) == {None}


def test_missing_pictures_are_named_before_any_work(archive, tmp_path, run, rows) -> None:
    (archive / IMAGES / "synpic1.jpg").unlink()
    result = run(app, archive, tmp_path / "out")
    assert result.exit_code == 1
    assert "1 of 3 pictures of 3 questions are missing" in result.output
    assert "synpic1.jpg" in result.output
    assert "--allow-missing" in result.output
    assert not (tmp_path / "out" / "train.parquet").exists()
    result = run(app, archive, tmp_path / "out", "--allow-missing")
    assert result.exit_code == 0, result.output
    assert [row["extra_info"]["id"] for row in rows(tmp_path / "out" / "train.parquet")] == ["1"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    [(reason, names)] = summary["splits"]["train"]["left_out"].items()
    assert (reason, len(names)) == ("picture missing or unreadable", 2)
    assert "2 × picture missing or unreadable" in result.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phrase_type": "validation"}, "entry 1 has phrase_type 'validation'"),
        ({"answer_type": "BOTH"}, "entry 1: answer_type is 'BOTH'"),
        ({"image_name": "../../secret.jpg"}, "names a picture outside itself"),
        ({"image_name": "/etc/passwd"}, "names a picture outside itself"),
    ],
)
def test_an_archive_that_cannot_be_is_refused(archive, tmp_path, run, change, message) -> None:
    (archive / QUESTIONS).write_text(json.dumps([ENTRIES[0], {**ENTRIES[1], **change}]))
    result = run(app, archive, tmp_path / "out")
    assert result.exit_code == 1
    assert message in result.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{", "no readable JSON"),
        ('{"a": 1}', "not a list of questions"),
        ('[{"qid": 1}]', "lacks phrase_type"),
        ("[]", "holds no questions"),
    ],
)
def test_a_damaged_question_file_is_named(archive, tmp_path, run, text, message) -> None:
    (archive / QUESTIONS).write_text(text)
    result = run(app, archive, tmp_path / "out")
    assert result.exit_code == 1
    assert message in result.output


def test_a_folder_without_the_benchmark_is_refused(tmp_path, run) -> None:
    (tmp_path / "empty").mkdir()
    result = run(app, tmp_path / "empty", tmp_path / "out")
    assert result.exit_code == 1
    assert "holds no questions of vqa_rad" in result.output


def test_the_real_archive(real_data, tmp_path, run, rows) -> None:
    result = run(app, real_data("vqa_rad"), tmp_path)
    assert result.exit_code == 0, result.output
    assert "202 of 203 test images are also in train" in result.output
    train, test = rows(tmp_path / "train.parquet"), rows(tmp_path / "test.parquet")
    assert (len(train), len(test)) == (1797, 451)
    assert Counter(row["extra_info"]["question_type"] for row in test) == {"closed": 272, "open": 179}
    answers = [row["reward_model"]["ground_truth"].lower() for row in test]
    assert sum(answer in ("yes", "no") for answer in answers) == 251
    assert len(list((tmp_path / "images").rglob("*.jpg"))) == 314
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["tidied"]["answer: a value that is no text"] == 5
    assert summary["near_copies"] == []


def test_the_published_duplicate_removal(real_data, tmp_path, run, rows) -> None:
    result = run(app, real_data("vqa_rad"), tmp_path, "--drop-duplicates", "--no-near-copies")
    assert result.exit_code == 0, result.output
    assert len(rows(tmp_path / "train.parquet")) == 1793
    assert len(rows(tmp_path / "test.parquet")) == 451
    assert "4 × duplicate question: 79, 196, 422, 943" in result.output


def test_every_real_answer_scores_against_itself(real_data) -> None:
    records = list(read(real_data("vqa_rad")))
    assert len(records) == 2248
    wrong = [record for record in records if not is_correct(record.answer, record.answer, record.question_type)]
    assert wrong == []


def test_a_converted_layout_is_understood(hub, tmp_path, run, comparable) -> None:
    assert run(app, hub, tmp_path / "a").exit_code == 0
    for path in (hub / "data").iterdir():
        folder = tmp_path / "converted" / "default" / path.name.split("-")[0]
        folder.mkdir(parents=True)
        path.rename(folder / "0000.parquet")
    assert run(app, tmp_path / "converted", tmp_path / "b").exit_code == 0
    assert comparable(tmp_path / "a" / "train.parquet") == comparable(tmp_path / "b" / "train.parquet")


def test_output_inside_the_source_is_refused(hub, run) -> None:
    result = run(app, hub, hub / "out")
    assert result.exit_code == 1
    assert "lies inside the source" in result.output


def test_a_hub_id_is_downloaded(hub, tmp_path, run, monkeypatch) -> None:
    asked = []

    def download(name, **options):
        asked.append((name, options))
        return str(hub)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    result = run(app, "flaviagiammarino/vqa-rad", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert asked == [("flaviagiammarino/vqa-rad", {"repo_type": "dataset", "allow_patterns": ["*"]})]


def test_a_hub_that_cannot_be_reached_is_named(tmp_path, run, monkeypatch) -> None:
    def download(name, **options):
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    result = run(app, "flaviagiammarino/vqa-rad", tmp_path / "out")
    assert result.exit_code == 1
    assert "could not be downloaded from the Hugging Face Hub: no route" in result.output
    assert "is no folder" in run(app, "/nowhere/at/all", tmp_path / "out").output
