"""Other projects' rules, weaknesses included: each row says what theirs gives."""

import pytest

from medeyes_verl.reward.answer import is_correct
from medeyes_verl.reward.published_rules import (
    llava_med_closed,
    llava_med_recall,
    medevalkit_closed,
    medevalkit_open,
)


@pytest.mark.parametrize(
    ("answer", "truth", "right"),
    [
        ("Yes.", "yes", True),
        ("yes, it is", "Yes", True),
        ("no", "yes", False),
        ("Yes, this is normal", "yes", False),
        ("normal", "no", True),
        ("yes or no", "yes", False),
        ("maybe", "yes", False),
        (None, "no", False),
    ],
)
def test_medevalkit_closed(answer: str | None, truth: str, right: bool) -> None:
    assert medevalkit_closed(answer, truth) is right


@pytest.mark.parametrize(
    ("answer", "truth", "right"),
    [
        ("Left Lung", "left lung", True),
        ("left lung.", "left lung", False),
        ("the left lung", "left lung", False),
        (None, "x", False),
    ],
)
def test_medevalkit_open(answer: str | None, truth: str, right: bool) -> None:
    assert medevalkit_open(answer, truth) is right


@pytest.mark.parametrize(
    ("answer", "truth", "right"),
    [
        ("Yes, this is normal", "yes", True),
        ("normal", "no", True),
        ("yes or no", "yes", True),
        ("yes or no", "no", True),
        ("yes", "no", False),
        ("maybe", "no", False),
        (None, "no", False),
    ],
)
def test_llava_med_closed(answer: str | None, truth: str, right: bool) -> None:
    assert llava_med_closed(answer, truth) is right


@pytest.mark.parametrize(
    ("answer", "truth", "recall"),
    [
        ("left lung", "left lung", 1.0),
        ("I think it lies in the left lung or elsewhere", "left lung", 1.0),
        ("lung", "left lung", 0.5),
        ("lung lung lung", "left lung", 0.75),
        ("liver", "left lung", 0.0),
        ("", "left lung", 0.0),
        ("left", "", 0.0),
        (None, "left", 0.0),
    ],
)
def test_llava_med_recall(answer: str | None, truth: str, recall: float) -> None:
    assert llava_med_recall(answer, truth) == pytest.approx(recall)


def test_ours_differs_where_theirs_is_known_to_be_wrong() -> None:
    assert is_correct("Yes, this is normal", "yes", "closed")
    assert not is_correct("normal", "no", "closed")
    assert not is_correct("yes or no", "yes", "closed")
