"""The audit on hand-made indices: what is shared, what is dropped, what is carved out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medeyes_verl.data.audit import IndexedRow, carve_validation, drop_duplicates, drop_leaks, find_leaks, kept
from medeyes_verl.data.image_source import SourceError


def row(split: str, name: str, *pictures: str, same: str | None = None) -> IndexedRow:
    return IndexedRow(split, name, pictures, (same or name).encode(), "open", None)  # type: ignore[arg-type]


def ids(index: list[IndexedRow], split: str) -> list[str]:
    return [entry.id for entry in kept(index, split)]  # type: ignore[arg-type]


def test_leaks_count_pictures_rows_and_questions() -> None:
    index = [
        row("train", "a", "p", same="same"),
        row("train", "b", "p"),
        row("train", "c", "q"),
        row("test", "d", "p", same="same"),
        row("test", "e", "r", "s"),
    ]
    [leak] = find_leaks(index)
    assert (leak.earlier, leak.later) == ("train", "test")
    assert (leak.shared_pictures, leak.pictures, leak.earlier_rows, leak.shared_questions) == (1, 3, 2, 1)
    assert leak.sentence() == ("1 of 3 test images are also in train (2 train rows; 1 test questions word for word)")


def test_every_pair_of_splits_is_compared() -> None:
    index = [row("train", "a", "p"), row("val", "b", "p"), row("test", "c", "q")]
    assert [(leak.earlier, leak.later, leak.shared_pictures) for leak in find_leaks(index)] == [
        ("train", "val", 1),
        ("train", "test", 0),
        ("val", "test", 0),
    ]


def test_dropping_leaks_keeps_the_later_split() -> None:
    index = [row("train", "a", "p", "x"), row("train", "b", "q"), row("val", "c", "q"), row("test", "d", "p")]
    drop_leaks(index)
    assert [ids(index, split) for split in ("train", "val", "test")] == [[], ["c"], ["d"]]
    assert [entry.dropped for entry in index] == ["image is in test", "image is in val", "", ""]
    assert all(leak.shared_pictures == 0 for leak in find_leaks(index))


def test_duplicates_go_within_a_split_and_from_the_earlier_one() -> None:
    index = [
        row("train", "a", "p", same="1"),
        row("train", "b", "p", same="1"),
        row("train", "c", "p", same="2"),
        row("test", "d", "p", same="2"),
        row("test", "e", "p", same="2"),
    ]
    drop_duplicates(index)
    assert ids(index, "train") == ["a"]
    assert ids(index, "test") == ["d"]


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=60),
    st.floats(0.05, 0.9),
    st.integers(0, 5),
    st.randoms(),
)
def test_validation_is_carved_by_picture_whatever_the_order(pictures, fraction, seed, random) -> None:
    index = [row("train", str(number), f"p{picture}") for number, picture in enumerate(pictures)]
    shuffled = [row("train", entry.id, *entry.pictures) for entry in index]
    random.shuffle(shuffled)
    expected = max(1, round(fraction * len(set(pictures))))
    if expected == len(set(pictures)):
        with pytest.raises(SourceError, match="leaves none to train on"):
            carve_validation(index, fraction, seed)
        return
    carve_validation(index, fraction, seed)
    carve_validation(shuffled, fraction, seed)
    assert set(ids(index, "val")) == set(ids(shuffled, "val"))
    shown = {split: {name for entry in kept(index, split) for name in entry.pictures} for split in ("train", "val")}
    assert not shown["train"] & shown["val"]
    assert len(shown["val"]) == expected
