"""Mixing: shares by hand, properties of the rounding, and files that cannot be mixed."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medeyes_verl.data.image_source import SourceError
from medeyes_verl.data.image_store import StoredPicture
from medeyes_verl.data.mix import mix, shares
from medeyes_verl.data.row import ROW_SCHEMA, Row, read_rows, write_rows
from medeyes_verl.gaze.geometry import Size


def write(path: Path, source: str, count: int, split: str = "train") -> Path:
    picture = StoredPicture("images/ab/abc.jpg", Size(4, 4))
    names = map(str, range(count))
    write_rows(path, (Row(source, split, name, "What?", name, "open", (picture,)) for name in names))  # type: ignore[arg-type]
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [write(tmp_path / "a" / "train.parquet", "a", 30), write(tmp_path / "b" / "train.parquet", "b", 10)]


@pytest.mark.parametrize(
    ("weights", "total", "expected"),
    [
        ("proportional", None, [30, 10]),
        ("proportional", 8, [6, 2]),
        ("balanced", None, [10, 10]),
        ("balanced", 50, [25, 25]),
        ("3,1", None, [30, 10]),
        ("1,3", None, [3, 10]),
        ("1,1", 7, [4, 3]),
    ],
)
def test_shares_by_hand(weights: str, total: int | None, expected: list[int]) -> None:
    assert shares([30, 10], weights, total) == expected


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=6), st.integers(1, 5000), st.data())
def test_shares_add_up_and_are_near_their_weights(sizes: list[int], total: int, data: st.DataObject) -> None:
    parts = data.draw(st.lists(st.floats(0.01, 100), min_size=len(sizes), max_size=len(sizes)))
    counts = shares(sizes, ",".join(map(repr, parts)), total)
    assert sum(counts) == total
    for count, part in zip(counts, parts, strict=True):
        assert abs(count - total * part / sum(parts)) < 1 + 1e-6


@pytest.mark.parametrize("weights", ["1", "1,2,3", "1,0", "1,-1", "1,nan", "even", ""])
def test_weights_that_cannot_be(weights: str) -> None:
    with pytest.raises(SourceError, match="weights"):
        shares([1, 2], weights, None)


def test_without_repetition_no_row_comes_twice(files: list[Path], tmp_path: Path) -> None:
    given_shares = mix(files, tmp_path / "out.parquet", weights="balanced", total=None, seed=0)
    assert [share.taken for share in given_shares] == [10, 10]
    rows = list(read_rows(tmp_path / "out.parquet"))
    assert Counter(row["data_source"] for row in rows) == {"a": 10, "b": 10}
    assert len({(row["data_source"], row["extra_info"]["id"]) for row in rows}) == 20
    assert [row["extra_info"]["index"] for row in rows] == list(range(20))
    assert [row["data_source"] for row in rows] != sorted(row["data_source"] for row in rows), "shuffled"
    assert rows[0]["images"] == [str(tmp_path / rows[0]["data_source"] / "images/ab/abc.jpg")]


def test_a_small_file_is_passed_over_evenly(files: list[Path], tmp_path: Path) -> None:
    mix(files, tmp_path / "out.parquet", weights="balanced", total=50, seed=0)
    times = Counter((row["data_source"], row["extra_info"]["id"]) for row in read_rows(tmp_path / "out.parquet"))
    assert {count for (source, _), count in times.items() if source == "b"} == {2, 3}
    assert {count for (source, _), count in times.items() if source == "a"} == {1}


def test_the_seed_decides(files: list[Path], tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        mix(files, tmp_path / f"{name}.parquet", weights="balanced", total=None, seed=seed)
    one, same, other = (list(read_rows(tmp_path / f"{name}.parquet")) for name in ("one", "same", "other"))
    assert one == same
    assert one != other


def test_files_that_cannot_be_mixed_are_named(files: list[Path], tmp_path: Path) -> None:
    test = write(tmp_path / "test.parquet", "c", 3, "test")
    with pytest.raises(SourceError, match="splits test, train"):
        mix([*files, test], tmp_path / "out.parquet", weights="balanced", total=None, seed=0)
    pq.write_table(pa.table({"prompt": ["a"]}), tmp_path / "foreign.parquet")
    with pytest.raises(SourceError, match=r"foreign\.parquet does not have the columns"):
        mix([tmp_path / "foreign.parquet"], tmp_path / "out.parquet", weights="balanced", total=None, seed=0)
    pq.write_table(ROW_SCHEMA.empty_table(), tmp_path / "empty.parquet")
    with pytest.raises(SourceError, match=r"empty\.parquet has no rows"):
        mix([tmp_path / "empty.parquet"], tmp_path / "out.parquet", weights="balanced", total=None, seed=0)
    with pytest.raises(SourceError, match=r"absent\.parquet is not a readable"):
        mix([tmp_path / "absent.parquet"], tmp_path / "out.parquet", weights="balanced", total=None, seed=0)
    assert not (tmp_path / "out.parquet").exists()
