"""Which files hold which split, and which are missing, in every way the hub names them."""

from pathlib import Path

import pytest

from medeyes_verl.data.image_source import SourceError
from medeyes_verl.data.revision import revision_of
from medeyes_verl.data.shards import missing_shards, tables_in


def made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["train-00000-of-00003.parquet"], ["train-00001-of-00003.parquet", "train-00002-of-00003.parquet"]),
        (["data/train-00001-of-00002.parquet"], ["data/train-00000-of-00002.parquet"]),
        (["train-00000-of-00002-eb8844602202be60.parquet"], ["train-00001-of-00002.parquet"]),
        (["train_0_of_2.parquet"], ["train_1_of_2.parquet"]),
        (["vqa-rad-train-00000-of-00002.parquet"], ["vqa-rad-train-00001-of-00002.parquet"]),
        (["default/train/0001.parquet"], ["default/train/0000.parquet"]),
        (["default/train/0000.parquet", "default/train/0002.parquet"], ["default/train/0001.parquet"]),
        (["train-00000.parquet", "train-00002.parquet"], ["train-00001.parquet"]),
        (["train/part-00000.parquet", "train/part-00002.parquet"], ["train/part-00001.parquet"]),
        (["train.parquet-00000-of-00002.parquet"], ["train.parquet-00001-of-00002.parquet"]),
        (["train-00001-of-00002.parquet", "train-00002-of-00002.parquet"], []),
        (["train-00000-of-00001.parquet", "test-00000-of-00001.parquet"], []),
        (["train.parquet", "validation.parquet"], []),
        (["train/0000.parquet", "test/0000.parquet"], []),
        (["train_2.parquet"], []),
    ],
)
def test_missing_files_are_named(tmp_path, names, missing) -> None:
    tables = tables_in(made(tmp_path, *names))
    assert missing_shards(tables) == [str(tmp_path / name) for name in missing]


def test_a_conversion_that_stopped_early_is_not_whole(tmp_path) -> None:
    tables = tables_in(made(tmp_path, "default/partial-train/0000.parquet"))
    assert [table.split for table in tables] == ["train"]
    assert missing_shards(tables) == ["the rest of partial-train/ (its name says that it is a part)"]


@pytest.mark.parametrize(
    "names",
    [
        ["data/train-00000-of-00001.parquet", "train.parquet"],
        ["data/train-00000-of-00001.parquet", "train-00000-of-00001.parquet"],
        ["train-00000-of-00001.parquet", "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"],
        ["val.parquet", "validation.parquet"],
        ["default/train/0000.parquet", "data/train-00000-of-00001.parquet"],
        ["train.parquet", "train.csv"],
        ["data/test-00000-of-00001.parquet", "test.jsonl"],
        ["test.parquet", "test/data-00000-of-00001.arrow"],
        ["snapshots/aaa/train.parquet", "snapshots/bbb/train.parquet"],
        ["test.parquet", "test_clean.parquet"],
    ],
)
def test_a_split_that_is_there_twice_is_refused_with_both_names(tmp_path, names) -> None:
    with pytest.raises(SourceError, match="split") as error:
        tables_in(made(tmp_path, *names))
    assert str(tmp_path / names[0]) in str(error.value)
    assert str(tmp_path / names[1]) in str(error.value)


@pytest.mark.parametrize("name", ["questions.parquet", "train_val.parquet", "data-00000-of-00001.parquet"])
def test_a_file_without_one_split_is_refused(tmp_path, name) -> None:
    with pytest.raises(SourceError, match=f"{name} says no split, or two; rename it"):
        tables_in(made(tmp_path, "train.parquet", name))


def test_hidden_folders_and_unrelated_files_are_no_tables(tmp_path) -> None:
    made(tmp_path, "train.parquet", ".cache/huggingface/train.parquet", "README.md", "dataset_infos.json")
    assert [table.path.name for table in tables_in(tmp_path)] == ["train.parquet"]


@pytest.fixture
def cache(tmp_path):
    folder = tmp_path / "hub" / "datasets--owner--name"
    made(folder, "snapshots/aaa/train.parquet", "snapshots/bbb/train.parquet", "refs/main")
    (folder / "refs" / "main").write_text("bbb")
    return folder


def test_the_revision_that_main_names_is_taken_from_any_level(cache) -> None:
    for folder in (cache, cache.parent, cache / "snapshots"):
        assert revision_of(folder, "X") == (cache / "snapshots/bbb", "X (revision bbb, which refs/main names)")
    assert revision_of(cache / "snapshots/aaa", "X") == (cache / "snapshots/aaa", "X")


def test_several_revisions_or_data_sets_without_a_choice_are_refused(cache) -> None:
    made(cache.parent / "datasets--owner--other", "snapshots/ccc/train.parquet")
    with pytest.raises(SourceError, match="cache of 2 data sets: datasets--owner--name, datasets--owner--other"):
        revision_of(cache.parent, "X")
    assert revision_of(cache.parent / "datasets--owner--other", "X")[1] == "X (revision ccc, the only one there)"
    (cache / "refs" / "main").unlink()
    with pytest.raises(SourceError, match=r"holds 2 revisions \(aaa, bbb\)"):
        revision_of(cache, "X")
