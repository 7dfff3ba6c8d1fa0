"""Ids: unique in what is written, the same whatever the order, and no change unnamed."""

from itertools import permutations

from medeyes_verl.data.audit import IndexedRow
from medeyes_verl.data.identity import CLASH, REPETITION, make_ids_distinct


def row(name: str, content: str, split: str = "train", dropped: str = "") -> IndexedRow:
    return IndexedRow(split, name, ("a.jpg",), content.encode().ljust(16), "open", None, dropped)


def test_unique_ids_stay() -> None:
    index = [row("1", "a"), row("2", "a"), row("3", "b", "test")]
    assert make_ids_distinct(index) == {}
    assert [one.id for one in index] == ["1", "2", "3"]


def test_different_questions_get_different_ids_in_any_order() -> None:
    found = set()
    for order in permutations("abc"):
        index = [row("1", content) for content in order]
        assert len(make_ids_distinct(index)[CLASH]) == 3
        found.add(frozenset((one.id, one.same) for one in index))
    assert len(found) == 1
    assert len({name for name, _ in found.pop()}) == 3


def test_different_questions_of_two_splits_get_different_ids() -> None:
    index = [row("1", "a"), row("1", "b", "test")]
    make_ids_distinct(index)
    assert index[0].id != index[1].id


def test_repetitions_are_numbered_past_ids_that_exist() -> None:
    index = [row("1", "a"), row("1", "a"), row("1-2", "b"), row("1", "a"), row("1", "a", dropped="duplicate")]
    changed = make_ids_distinct(index)
    assert [one.id for one in index] == ["1", "1-3", "1-2", "1-4", "1"]
    assert changed == {REPETITION: ["1 -> 1-3", "1 -> 1-4"]}


def test_a_question_that_two_splits_share_keeps_its_id() -> None:
    index = [row("1", "a"), row("1", "a", "test")]
    assert make_ids_distinct(index) == {}
