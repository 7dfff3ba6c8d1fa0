"""Raw cells become clean text, and what was done to them is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medeyes_verl.data.cells import tidy
from medeyes_verl.data.image_source import FilePicture
from medeyes_verl.data.record import make_record, scored_as

PICTURES = (FilePicture("a.jpg"),)


@pytest.mark.parametrize(
    ("value", "text", "notes"),
    [
        ("plain", "plain", ()),
        ("None", "None", ()),
        (" lungs \tbony  thorax\n", "lungs bony thorax", ("white space tidied",)),
        (4, "4", ("a value that is no text",)),
        (None, "", ("a value that is no text",)),
        ("it\ufffds a duct", "it's a duct", ("lost apostrophe (U+FFFD) restored",)),
        ("5 \ufffd 3", "5 \ufffd 3", ()),
        ("左\u3000肺", "左 肺", ("white space tidied",)),
    ],
)
def test_cells_by_hand(value: object, text: str, notes: tuple[str, ...]) -> None:
    assert tidy(value) == (text, notes)


def test_lines_of_a_question_stay() -> None:
    assert tidy("a  b \n c", lines=True)[0] == "a b \n c"


@given(st.text())
def test_tidying_twice_changes_nothing(text: str) -> None:
    once, _ = tidy(text)
    assert tidy(once) == (once, ())


@pytest.mark.parametrize(
    ("answer", "answer_type", "expected"),
    [
        ("Yes", None, "closed"),
        ("no.", None, "closed"),
        ("YES ", None, "closed"),
        ("Left", None, "open"),
        ("Left", "CLOSED", "closed"),
        ("nodule", "OPEN", "open"),
        ("yes", "OPEN", "closed"),
    ],
)
def test_closed_or_open(answer, answer_type, expected) -> None:
    assert scored_as(answer, answer_type) == expected


def test_what_cannot_be_a_row_says_why() -> None:
    assert make_record("train", "What?", " ", PICTURES).left_out == "empty answer"
    assert make_record("train", None, "yes", PICTURES).left_out == "empty question"
    assert make_record("train", "What?", "", PICTURES, left_out="other language").left_out == "other language"
    record = make_record("train", "What?", 4, PICTURES)
    assert (record.left_out, record.answer, record.notes) == ("", "4", ("answer: a value that is no text",))
