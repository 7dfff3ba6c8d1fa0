"""PMC-VQA: headers and prefixes of all versions, the zip read in place, and what may be wrong with it."""

import csv
import json
import zipfile

import pytest

from medeyes_verl.data.readers.pmc_vqa import app

V1 = ["Figure_path", "Question", "Answer", "Choice A", "Choice B", "Choice C", "Choice D", "Answer_label"]
FIRST = ["Figure_path", "Question", "Anwser", "Choice A", "Choice B", "Choice C", "Choice D"]
V2 = ["index", "Figure_path", "Caption", "Question", "Choice A", "Choice B", "Choice C", "Choice D", "Answer", "split"]
CHOICES = ["A:Diffuse uptake", " B:Focal uptake", "C:No uptake ", "D:D: dimer"]
PLAIN = ["Diffuse uptake", "Focal uptake", "No uptake", "D: dimer"]


def write_csv(path, header, lines) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([header, *lines])


def write_zip(path, pictures, folder="figures/") -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in pictures.items():
            file.writestr(folder + name, data)


@pytest.fixture
def version_1(tmp_path, encode):
    folder = tmp_path / "v1"
    folder.mkdir()
    write_csv(
        folder / "train.csv",
        V1,
        [
            ["PMC1_F1.jpg", "What is the\tuptake?", "Focal uptake", *CHOICES, "B"],
            ["PMC1_F1.jpg", "And here?", "No uptake", *CHOICES, "C"],
        ],
    )
    write_csv(folder / "test.csv", V1, [["PMC2_F1.jpg", "What?", "D: dimer", *CHOICES, "D"]])
    write_csv(folder / "test_clean.csv", V1, [["PMC2_F1.jpg", "Really what?", "D: dimer", *CHOICES, "D"]])
    write_zip(folder / "images.zip", {"PMC1_F1.jpg": encode(1), "PMC2_F1.jpg": encode(2)}, "images/")
    return folder


@pytest.fixture
def version_2(tmp_path, encode):
    folder = tmp_path / "v2"
    folder.mkdir()
    train = [
        [0, "PMC1_F1.jpg", "A caption", "What is the uptake?", *CHOICES, "B", "train"],
        [1, "PMC1_F1.jpg", "A caption", "And here?", *CHOICES, "C", "train"],
    ]
    write_csv(folder / "train_2.csv", V2, train)
    write_csv(folder / "test_2.csv", V2, [[0, "PMC2_F1.jpg", "c", "What?", *CHOICES, "D", "test"]])
    write_zip(folder / "images_2.zip", {"PMC1_F1.jpg": encode(1), "PMC2_F1.jpg": encode(2)})
    return folder


def test_options_lose_their_letters_and_the_answer_is_one(version_1, tmp_path, run, rows, assert_healthy) -> None:
    result = run(app, version_1, tmp_path / "out")
    assert result.exit_code == 0, result.output
    for split in ("train", "test"):
        assert_healthy(tmp_path / "out" / f"{split}.parquet")
    train = rows(tmp_path / "out" / "train.parquet")
    assert train[0]["extra_info"]["options"] == PLAIN
    assert [row["reward_model"]["ground_truth"] for row in train] == ["B", "C"]
    assert train[0]["extra_info"]["question_type"] == "multiple_choice"
    assert train[0]["prompt"][0]["content"] == (
        "<image>What is the uptake?\nA. Diffuse uptake\nB. Focal uptake\nC. No uptake\nD. D: dimer"
    )
    assert not list(tmp_path.glob("v1/images/*")), "the archive is not unpacked"


@pytest.mark.parametrize("version", ["version_2", "unpacked", "parquet", "first"])
def test_all_forms_give_equal_rows(version_1, version_2, version, tmp_path, run, comparable, snapshot, encode) -> None:
    source = version_2
    if version == "unpacked":
        with zipfile.ZipFile(version_2 / "images_2.zip") as file:
            file.extractall(version_2)
        (version_2 / "images_2.zip").unlink()
    elif version == "first":
        source = version_1
        cells = ["PMC1_F1.jpg", "What is the uptake?", "B:Focal uptake", *CHOICES]
        write_csv(source / "train.csv", FIRST, [cells, ["PMC1_F1.jpg", "And here?", "C:No uptake", *CHOICES]])
    elif version == "parquet":
        names = [f"choice {letter}" for letter in "abcd"]

        def cells(image, question, letter, answer):
            choices = dict(zip(names, PLAIN, strict=True))
            return {"image": encode(image), "question": question, "answer": answer, **choices, "answer label": letter}

        tables = {
            "train-00000-of-00002": [cells(1, "What is the uptake?", "B", "Focal uptake")],
            "train-00001-of-00002": [cells(1, "And here?", "C", "No uptake")],
            "test-00000-of-00001": [cells(2, "What?", "D", "D: dimer")],
        }
        source = snapshot(tmp_path / "hub", tables)
    expected = run(app, version_1, tmp_path / "a") if version != "first" else run(app, version_2, tmp_path / "a")
    assert expected.exit_code == 0
    result = run(app, source, tmp_path / "b")
    assert result.exit_code == 0, result.output
    for name in ("train.parquet", "test.parquet"):
        assert comparable(tmp_path / "a" / name) == comparable(tmp_path / "b" / name)


def test_the_clean_test_split_is_an_option_of_version_1(version_1, version_2, tmp_path, run, rows) -> None:
    assert run(app, version_1, tmp_path / "out", "--clean-test").exit_code == 0
    assert rows(tmp_path / "out" / "test.parquet")[0]["extra_info"]["question"] == "Really what?"
    result = run(app, version_2, tmp_path / "out", "--clean-test", "--version", "2")
    assert result.exit_code == 1
    assert "only version 1 has a clean test split" in result.output


def test_unusable_rows_are_counted_and_named(version_1, tmp_path, run, rows) -> None:
    write_csv(
        version_1 / "train.csv",
        V1,
        [
            ["PMC1_F1.jpg", "Which?", "Focal uptake", *CHOICES, "B"],
            ["PMC1_F1.jpg", "Which else?", "something", *CHOICES, "E"],
            ["PMC1_F1.jpg", "Cut off"],
            ["PMC1_F1.jpg", " ", "Focal uptake", *CHOICES, "B"],
        ],
    )
    result = run(app, version_1, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert len(rows(tmp_path / "out" / "train.parquet")) == 1
    left_out = json.loads((tmp_path / "out" / "summary.json").read_text())["splits"]["train"]["left_out"]
    assert {reason: len(names) for reason, names in left_out.items()} == {
        "no option is marked as right": 1,
        "incomplete row": 1,
        "empty question": 1,
    }


def test_a_wrong_header_is_named(version_1, tmp_path, run) -> None:
    write_csv(version_1 / "train.csv", ["Figure_path", "Question", "Choice A"], [])
    result = run(app, version_1, tmp_path / "out")
    assert result.exit_code == 1
    assert "train.csv lacks the columns choice b, choice c, choice d" in result.output
    (version_1 / "train.csv").write_bytes(b"\xff\xfe\x00binary")
    result = run(app, version_1, tmp_path / "out")
    assert "train.csv, line 0: not readable as CSV" in result.output


def test_a_corrupt_zip_is_named(version_1, tmp_path, run) -> None:
    data = (version_1 / "images.zip").read_bytes()
    (version_1 / "images.zip").write_bytes(data[: len(data) // 2])
    result = run(app, version_1, tmp_path / "out")
    assert result.exit_code == 1
    assert "images.zip is not a readable zip archive" in result.output


def test_a_corrupt_entry_stops_the_run_but_not_its_repair(version_1, tmp_path, run, rows) -> None:
    good = (version_1 / "images.zip").read_bytes()
    place = good.index(b"\xff\xd8") + 100
    (version_1 / "images.zip").write_bytes(good[:place] + b"XXXXXX" + good[place + 6 :])
    result = run(app, version_1, tmp_path / "out")
    assert result.exit_code == 1
    assert "the pictures of 2 questions cannot be used, first" in result.output
    assert "PMC1_F1.jpg: damaged entry: Bad CRC-32" in result.output
    result = run(app, version_1, tmp_path / "left", "--allow-missing")
    assert result.exit_code == 0, result.output
    assert "2 × picture missing or unreadable" in result.output


def test_an_archive_with_an_entry_outside_is_refused(version_1, tmp_path, run, encode) -> None:
    with zipfile.ZipFile(version_1 / "images.zip", "a") as file:
        file.writestr("../outside.jpg", encode(9))
    result = run(app, version_1, tmp_path / "out")
    assert result.exit_code == 1
    assert "names a picture outside itself: '../outside.jpg'" in result.output


def test_missing_entries_are_named_before_any_work(version_1, tmp_path, run, encode) -> None:
    write_zip(version_1 / "images.zip", {"PMC1_F1.jpg": encode(1)}, "images/")
    result = run(app, version_1, tmp_path / "out")
    assert result.exit_code == 1
    assert "1 of 2 pictures of 1 questions are missing" in result.output
    assert "images.zip:PMC2_F1.jpg" in result.output


@pytest.mark.parametrize(
    ("options", "patterns"),
    [
        ((), ["*_2.csv", "images_2.zip"]),
        (("--version", "2"), ["*_2.csv", "images_2.zip"]),
        (("--version", "1"), ["train.csv", "test*.csv", "images.zip"]),
        (("--clean-test",), ["train.csv", "test*.csv", "images.zip"]),
    ],
)
def test_only_the_version_that_is_asked_for_is_downloaded(tmp_path, run, monkeypatch, options, patterns) -> None:
    asked = []

    def download(name, **settings):
        asked.append(settings["allow_patterns"])
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert run(app, "RadGenome/PMC-VQA", tmp_path / "out", *options).exit_code == 1
    assert asked == [patterns]


def test_a_missing_validation_split_is_said(version_1, tmp_path, run) -> None:
    """The recipes validate on val.parquet; PMC-VQA has none of its own."""
    assert "add --val-fraction" in run(app, version_1, tmp_path / "out").output
    assert not (tmp_path / "out" / "val.parquet").exists()
