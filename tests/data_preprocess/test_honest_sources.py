"""Nothing of a source is lost or doubled without a word: each reader, each fault, as its command shows it."""

import json
import re

import pytest

from medeyes_verl.data.readers import mmmu, path_vqa, pmc_vqa, slake, vqa_rad

NAN = float("nan")
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
MMMU_IMAGES = {f"image_{number}": None for number in range(1, 8)}


def said(result) -> str:
    return " ".join(result.output.split())


def cells(encode, number: int, **changes):
    return {"image": encode(number), "question": f"What is {number}?", "answer": "cyst", **changes}


def simple(encode, number):
    return cells(encode, number)


def choice(encode, number):
    options = {f"choice {letter}": f"text {letter}" for letter in "abcd"}
    return {**cells(encode, number), "answer": "text b", "answer label": "B", **options}


def subject(encode, number):
    row = {"id": f"dev_Pharmacy_{number}", "question": "<image 1>?", "options": "['a', 'b']", "answer": "A"}
    return {**row, "question_type": "multiple-choice", **MMMU_IMAGES, "image_1": encode(number)}


READERS = [(vqa_rad, simple), (path_vqa, simple), (slake, simple), (pmc_vqa, choice), (mmmu, subject)]
ids = [reader.__name__.split(".")[-1] for reader, _ in READERS]


@pytest.fixture
def table(tmp_path, snapshot, encode):
    """`table(reader's row function, name, ...)`: a snapshot with two rows a file."""

    def write(make, *names: str):
        tables = {name: [make(encode, 2 * place), make(encode, 2 * place + 1)] for place, name in enumerate(names)}
        return snapshot(tmp_path / "hub", tables, ("image", *MMMU_IMAGES))

    return write


@pytest.mark.parametrize(("reader", "make"), READERS, ids=ids)
def test_a_shard_that_is_missing_is_refused_or_named(reader, make, table, tmp_path, run, rows) -> None:
    source = table(make, "train-00000-of-00003")
    result = run(reader.app, source, tmp_path / "out")
    assert result.exit_code == 1
    assert "2 files of the data set are missing" in said(result)
    assert "train-00001-of-00003.parquet" in result.output
    assert not (tmp_path / "out" / "train.parquet").exists()
    result = run(reader.app, source, tmp_path / "out", "--allow-missing")
    assert result.exit_code == 0, result.output
    assert "missing file, allowed by --allow-missing" in said(result)
    missing = json.loads((tmp_path / "out" / "summary.json").read_text())["missing_files"]
    assert [name.rsplit("/", 1)[1] for name in missing] == [
        "train-00001-of-00003.parquet",
        "train-00002-of-00003.parquet",
    ]
    assert len(rows(tmp_path / "out" / "train.parquet")) == 2


@pytest.mark.parametrize(("reader", "make"), READERS, ids=ids)
def test_a_truncated_file_and_a_pointer_are_named(reader, make, table, tmp_path, run) -> None:
    source = table(make, "train")
    path = source / "data" / "train.parquet"
    data = path.read_bytes()
    for content, words in (
        (data[: len(data) // 2], "is not a readable parquet file"),
        (POINTER, "is a git-lfs pointer"),
        (b"", "is empty"),
        (data[:4] + bytes(len(data) // 2) + data[4 + len(data) // 2 :], "download it again"),
    ):
        path.write_bytes(content)
        result = run(reader.app, source, tmp_path / "out")
        assert result.exit_code == 1, words
        assert isinstance(result.exception, SystemExit), result.exception
        assert "train.parquet" in said(result)
        assert words in said(result)


def test_the_revision_that_was_read_is_named(tmp_path, run, rows, snapshot, encode) -> None:
    cache = tmp_path / "datasets--owner--name"
    for name, count in (("aaa", 1), ("bbb", 2)):
        snapshot(cache / "snapshots" / name, {"train": [cells(encode, number) for number in range(count)]})
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("bbb")
    result = run(vqa_rad.app, cache, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "revision bbb" in json.loads((tmp_path / "out" / "summary.json").read_text())["source"]
    assert len(rows(tmp_path / "out" / "train.parquet")) == 2


def test_a_parquet_slake_keeps_what_its_columns_say(tmp_path, run, rows, snapshot, encode) -> None:
    extra = {"qid": 5, "answer_type": "CLOSED", "q_lang": "en", "modality": "CT", "location": "Lung"}
    table = [
        cells(encode, 1, answer="Left", **extra),
        cells(encode, 2, **{**extra, "qid": 6, "q_lang": "zh", "question": "x"}),
        cells(encode, 3, **{**extra, "qid": 7, "q_lang": None, "question": "这是什么?"}),
        cells(encode, 4, **{**extra, "qid": 8, "answer_type": "OPEN"}),
    ]
    result = run(slake.app, snapshot(tmp_path / "hub", {"train": table}), tmp_path / "out")
    assert result.exit_code == 0, result.output
    first, second = rows(tmp_path / "out" / "train.parquet")
    assert (first["extra_info"]["id"], first["extra_info"]["question_type"]) == ("5", "closed")
    assert (first["extra_info"]["modality"], first["extra_info"]["location"]) == ("CT", "Lung")
    assert (second["extra_info"]["id"], second["extra_info"]["answer_type"]) == ("8", "OPEN")
    assert "2 × question in language 'zh': 6 (data/train.parquet: row 1), 7 (data/train.parquet: row 2)" in said(result)


@pytest.mark.parametrize(
    ("values", "expected", "reason"),
    [
        ([NAN, 2.0, 2.5], ["2", "2.5"], "empty answer"),
        ([None, "None", "nan"], ["None", "nan"], "empty answer"),
        ([["yes", "no"], ["cyst"], []], ["cyst"], "answer is a list of 2 values"),
        (["['yes', 'no']", "['cyst']", "[0, 1]"], ["cyst", "[0, 1]"], "answer is a list of 2 values"),
        ([True, False, None], ["yes", "no"], "empty answer"),
        ([float("inf"), 1e20, 3.0], ["1e+20", "3"], "answer is an infinite number"),
        ([{"a": 1}, None, None], [], "answer is of type dict"),
        ([b"x", b"y", b"z"], [], "answer is of type bytes"),
        (["\ufeffcyst", "a\r\nb", " "], ["cyst", "a b"], "empty answer"),
    ],
)
def test_an_answer_is_read_rightly_or_named(values, expected, reason, tmp_path, run, rows, snapshot, encode) -> None:
    table = [cells(encode, number, answer=value) for number, value in enumerate(values)]
    source = snapshot(tmp_path / "hub", {"train": table, "test": [cells(encode, 9, answer=values[1])]})
    result = run(vqa_rad.app, source, tmp_path / "out")
    train = rows(tmp_path / "out" / "train.parquet") if expected else []
    assert [row["reward_model"]["ground_truth"] for row in train] == expected
    left_out = json.loads((tmp_path / "out" / "summary.json").read_text())["splits"]["train"]["left_out"]
    place = next(number for number in range(3) if f"What is {number}?" in str(left_out[reason]))
    assert f"What is {place}? (data/train.parquet: row {place})" in left_out[reason]
    assert sum(map(len, left_out.values())) == 3 - len(expected)
    assert reason in said(result) or not expected


def test_json_values_are_read_the_same_way(tmp_path, run, rows, encode) -> None:
    def entry(qid, answer, image="a/source.jpg"):
        kind = {"q_lang": "en", "answer_type": "OPEN", "modality": None, "location": NAN}
        return {"qid": qid, "img_name": image, "question": f"What is {qid}?", "answer": answer, **kind}

    folder = tmp_path / "slake"
    (folder / "imgs" / "a").mkdir(parents=True)
    (folder / "imgs" / "a" / "source.jpg").write_bytes(encode(1))
    entries = [entry(1, NAN), entry(2, ["yes", "no"]), entry(3, "None"), entry(4.0, 2.0), entry(5, "x", None)]
    (folder / "train.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(entries).replace(", ", ",\r\n").encode())
    result = run(slake.app, folder, tmp_path / "out")
    assert result.exit_code == 0, result.output
    train = rows(tmp_path / "out" / "train.parquet")
    assert [(row["extra_info"]["id"], row["reward_model"]["ground_truth"]) for row in train] == [
        ("3", "None"),
        ("4", "2"),
    ]
    assert train[0]["extra_info"]["location"] is None
    for words in ("empty answer: 1 (train", "answer is a list of 2 values: 2 (train", "no image: 5 (train"):
        assert words in said(result)


def test_two_questions_with_one_id_have_their_own_experts(tmp_path, run, rows, snapshot, encode) -> None:
    def made(name, order):
        table = [cells(encode, number, qid=7) for number in order]
        run(vqa_rad.app, snapshot(tmp_path / name, {"train": table}), tmp_path / f"{name}-out", "--expert-ids")
        found = rows(tmp_path / f"{name}-out" / "train.parquet")
        return {row["extra_info"]["question"]: row["extra_info"]["expert_id"] for row in found}

    forward, backward = made("a", (0, 1)), made("b", (1, 0))
    assert forward == backward
    assert len(set(forward.values())) == 2
    assert all(name.startswith("vqa_rad/7-") for name in forward.values())
    summary = json.loads((tmp_path / "a-out" / "summary.json").read_text())
    [(reason, names)] = summary["changed_ids"].items()
    assert "id of different questions" in reason
    assert [name.split(" -> ")[0] for name in names] == ["7", "7"]


def test_a_repeated_question_is_kept_named_and_distinct(tmp_path, run, rows, snapshot, encode) -> None:
    source = snapshot(tmp_path / "hub", {"train": [cells(encode, 1), cells(encode, 1)]})
    result = run(path_vqa.app, source, tmp_path / "out", "--expert-ids")
    found = [row["extra_info"]["expert_id"] for row in rows(tmp_path / "out" / "train.parquet")]
    assert found == [found[0], f"{found[0]}-2"]
    assert "1 × question that occurs again under its id" in said(result)


def test_an_archive_and_a_table_in_one_folder_are_refused(tmp_path, run, snapshot, encode) -> None:
    source = snapshot(tmp_path / "hub", {"test": [cells(encode, 1)]})
    (source / "train.json").write_text("[]")
    result = run(slake.app, source, tmp_path / "out")
    assert result.exit_code == 1
    assert re.search(r"holds the questions twice: .*train\.json and .*test\.parquet", said(result))
    (source / "data" / "test.parquet").unlink()
    (source / "Slake1.0").mkdir()
    (source / "Slake1.0" / "train.json").write_text("[]")
    assert re.search(
        r"holds the train questions twice: .*train\.json and .*Slake1\.0",
        said(run(slake.app, source, tmp_path / "out")),
    )


def test_a_csv_row_with_a_stray_comma_is_named(tmp_path, run, encode) -> None:
    folder = tmp_path / "pmc"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.jpg").write_bytes(encode(1))
    header = "Figure_path,Question,Answer,Choice A,Choice B,Choice C,Choice D,Answer_label"
    lines = ["a.jpg,What?,x,w,x,y,z,B", "a.jpg,What, then?,x,w,x,y,z,B", ",What?,x,w,x,y,z,B", "a.jpg,Q?,x,,x,y,z,B"]
    (folder / "train.csv").write_bytes("\r\n".join(["\ufeff" + header, *lines]).encode())
    result = run(pmc_vqa.app, folder, tmp_path / "out")
    assert result.exit_code == 0, result.output
    for words in (
        "row with more cells than columns: What (train.csv: line 3)",
        "no image: What? (train.csv: line 4)",
        "empty option: Q? (train.csv: line 5)",
    ):
        assert words in said(result)
