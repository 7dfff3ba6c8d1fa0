"""Right or wrong: hand-written pairs, the known defects of published scorers, and properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medeyes_verl.reward.answer import chosen_option, is_correct, normalise, polarity, token_f1


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Yes", "yes"),
        ("  Left   Lung \n", "left lung"),
        ("Pleural\teffusion", "pleural effusion"),
        ("X-ray", "x ray"),
        ("X-Ray.", "x ray"),
        ("left-sided", "left sided"),
        ("3.4 cm", "3.4 cm"),
        ("3.4cm.", "3.4cm"),
        ("5 cm.", "5 cm"),
        ("1.5 x 1.8 cm", "1.5 x 1.8 cm"),
        ("St. Thomas", "st thomas"),
        ("e.g. a cyst", "eg cyst"),
        ("A.P.", "ap"),
        ("P.A", "pa"),
        ("E.coli", "e coli"),
        ("end.A cyst", "end cyst"),
        ("v1.2.3.", "v1.2.3"),
        (".5", "5"),
        ("L2-3", "l2 3"),
        ("T2-weighted", "t2 weighted"),
        ("5%", "5"),
        ("two", "2"),
        ("Two lungs", "2 lungs"),
        ("None", "0"),
        ("zero", "0"),
        ("ten", "10"),
        ("eleven", "eleven"),
        ("someone", "someone"),
        ("the left lobe", "left lobe"),
        ("an MRI of a brain", "mri of brain"),
        ("A", "a"),
        ("the a an", "an"),
        ("theory", "theory"),
        ("hepatitis A", "hepatitis a"),
        ("patient's", "patient s"),
        ("patient’s", "patient s"),
        ("right (upper) lobe", "right upper lobe"),
        ("snake_case", "snake case"),
        ("**Pneumonia**", "pneumonia"),
        ("Ménière", "ménière"),
        ("Me\u0301nie\u0300re", "ménière"),
        ("ＣＴ", "ct"),
        ("左肺", "左肺"),
        ("", ""),
        (" .,;! ", ""),
        ("\ufffd", ""),
    ],
)
def test_normalise(text: str, form: str) -> None:
    assert normalise(text) == form


CLOSED = [
    # ground truth, answer, right?
    ("yes", "yes", True),
    ("yes", "Yes", True),
    ("Yes", "YES.", True),
    ("yes", " yes \n", True),
    ("yes", "**Yes**", True),
    ("yes", "Yes!", True),
    ("yes", "yes, it is", True),
    ("yes", "Yes, there is a fracture of the left rib.", True),
    ("yes", "The answer is yes", True),
    ("yes", "yeah", True),
    ("yes", "True", True),
    ("yes", "true.", True),
    ("yes", "yes yes", True),
    ("yes", "yes-", True),
    ("yes", "'yes'", True),
    ("yes", "no", False),
    ("yes", "No.", False),
    ("yes", "false", False),
    ("yes", "nope", False),
    ("no", "no", True),
    ("no", "No", True),
    ("No", "NO", True),
    ("no", "no.", True),
    ("no", "No, there is none", True),
    ("no", "no, there is no mass", True),
    ("no", "there is no mass", True),
    ("no", "nope", True),
    ("no", "False", True),
    ("no", "(no)", True),
    ("no", "yes", False),
    ("no", "true", False),
    # A whole word, not a substring. "Yes, this is normal" is scored wrong elsewhere.
    ("yes", "Yes, this is normal", True),
    ("yes", "yes, it is abnormal", True),
    ("yes", "Yes: nodules are seen", True),
    ("no", "Yes, this is normal", False),
    ("no", "normal", False),
    ("no", "abnormal", False),
    ("no", "nodule", False),
    ("no", "unknown", False),
    ("no", "not sure", False),
    ("no", "nothing", False),
    ("no", "cannot say", False),
    ("no", "none", False),
    ("no", "nose", False),
    ("no", "pneumonia", False),
    ("yes", "eyes", False),
    ("yes", "yesterday", False),
    ("yes", "untrue", False),
    # Both or neither.
    ("yes", "yes or no", False),
    ("no", "yes or no", False),
    ("yes", "yes/no", False),
    ("no", "no, yes", False),
    ("yes", "Yes. No.", False),
    ("yes", "true and false", False),
    ("yes", "", False),
    ("no", "", False),
    ("yes", "maybe", False),
    ("yes", "y", False),
    ("no", "n", False),
    ("yes", "1", False),
    ("yes", "correct", False),
    ("no", "0", False),
    # The ground truth may be written differently.
    ("Yes.", "yes", True),
    ("YES", "yes", True),
    ("No ", "no", True),
    ("TRUE", "yes", True),
    # Closed by its benchmark but neither yes nor no: equality.
    ("Left", "left", True),
    ("Left", "Left.", True),
    ("Left", "right", False),
    ("Left", "left side", False),
    ("MRI", "mri", True),
    ("MRI", "CT", False),
    ("Both", "both", True),
    ("Both sides", "both sides.", True),
    ("White matter", "the white matter", True),
    ("maybe", "Maybe", True),
    ("maybe", "yes", False),
    ("Non-contrast CT", "non contrast ct", True),
    ("with contrast", "contrast", False),
    ("one", "1", True),
    ("normal", "abnormal", False),
    ("normal", "normal", True),
]

OPEN = [
    ("left lung", "left lung", True),
    ("left lung", "Left Lung", True),
    ("left lung", "the left lung", True),
    ("left lung", "Left lung.", True),
    ("left lung", "left  lung", True),
    ("left lung", "left-lung", True),
    ("left lung", "(left lung)", True),
    ("left lung", "lung", False),
    ("left lung", "left", False),
    ("left lung", "lung left", False),
    ("left lung", "left lungs", False),
    ("left lung", "right lung", False),
    ("left lung", "in the left lung", False),
    ("left lung", "", False),
    ("left lung", ".", False),
    ("Pleural effusion", "pleural effusion", True),
    ("Pleural effusion", "effusion", False),
    ("X-ray", "x-ray", True),
    ("X-ray", "X ray", True),
    ("X-ray", "Xray", False),
    ("Right of the midline, superior to the right hilum", "right of midline superior to right hilum", True),
    ("CT", "ct", True),
    ("CT", "CTA", False),
    ("T2", "T2", True),
    ("T2", "t2.", True),
    ("T2", "T1", False),
    ("T2 weighted", "T2-weighted", True),
    ("4", "four", True),
    ("four", "4", True),
    ("12", "12", True),
    ("12", "twelve", False),
    ("One", "1", True),
    ("one", "One.", True),
    ("2", "two", True),
    ("2", "12", False),
    ("2", "2.0", False),
    ("None", "none", True),
    ("None", "0", True),
    ("None", "zero", True),
    ("None", "no", False),
    ("0", "None", True),
    ("10", "ten", True),
    ("3.4 cm", "3.4 cm", True),
    ("3.4 cm", "3.4 cm.", True),
    ("3.4 cm", "34 cm", False),
    ("3.4 cm", "3 4 cm", False),
    ("3.4 cm", "3.5 cm", False),
    ("5 cm", "5cm", False),
    ("7th rib", "the 7th rib", True),
    ("4th and 5th", "4th, and 5th", True),
    ("4th and 5th", "4th & 5th", False),
    ("Anterior", "posterior", False),
    ("Crohn's disease", "crohn’s disease", True),
    ("Crohn's disease", "crohns disease", False),
    ("liver, spleen", "liver spleen", True),
    ("liver, spleen", "spleen, liver", False),
    ("CVA", "cva", True),
    ("AP", "A.P.", True),
    ("A.P.", "P.A.", False),
    ("A.P. view", "the AP view", True),
    ("vitamin K", "vitamin A", False),
    ("vitamin A", "vitamin", False),
    ("hepatitis A", "a hepatitis A.", True),
    ("~15 minutes\tpotentially faster", "15 minutes potentially faster", True),
    ("An abscess", "abscess", True),
    ("yes", "yes", True),
    ("yes", "Yes, it is", False),
    ("no", "normal", False),
    ("A", "a", True),
    ("A", "the", False),
    ("?", "?", False),
    ("", "", False),
    ("左肺", "左肺", True),
]

LETTERS = ["Left lung", "Right lung", "Liver", "Spleen"]
NESTED = ["Pneumonia", "Viral pneumonia", "Edema", "None of the above"]
SIGNS = ["<5 cm", ">5 cm", "5 cm"]
NUMBERS = ["1", "2", "3", "10"]
BUGS = ["S. aureus", "C. difficile", "E. coli", "B. anthracis", "Candida"]
PLANES = ["A.P. view", "P.A. view", "Lateral"]

CHOICE = [
    # options, ground truth, answer, right?
    (LETTERS, "B", "B", True),
    (LETTERS, "B", "b", True),
    (LETTERS, "B", " B ", True),
    (LETTERS, "B", "B.", True),
    (LETTERS, "B", "(B)", True),
    (LETTERS, "B", "(b)", True),
    (LETTERS, "B", "B)", True),
    (LETTERS, "B", "[B]", True),
    (LETTERS, "B", "**B**", True),
    (LETTERS, "B", "**B.**", True),
    (LETTERS, "B", "*B*", True),
    (LETTERS, "B", '"B"', True),
    (LETTERS, "B", "B:", True),
    (LETTERS, "B", "B. Right lung", True),
    (LETTERS, "B", "B: Right lung", True),
    (LETTERS, "B", "(B) Right lung", True),
    (LETTERS, "B", "**B**: Right lung", True),
    (LETTERS, "B", "B) right lung, because of the shadow", True),
    (LETTERS, "B", "Right lung", True),
    (LETTERS, "B", "right lung.", True),
    (LETTERS, "B", "the right lung", True),
    (LETTERS, "B", "It lies in the right lung.", True),
    (LETTERS, "B", "A", False),
    (LETTERS, "B", "Left lung", False),
    (LETTERS, "B", "lung", False),
    (LETTERS, "B", "E", False),
    (LETTERS, "B", "Z.", False),
    (LETTERS, "B", "", False),
    (LETTERS, "B", "?", False),
    (LETTERS, "B", "left lung or right lung", False),
    (LETTERS, "B", "bright lung", False),
    (LETTERS, "B", "right lungs", False),
    (LETTERS, "B", "BB", False),
    (LETTERS, "B", "B or C", False),
    (LETTERS, "B", "Both lungs", False),
    (LETTERS, "A", "A mass in the liver", False),
    (LETTERS, "C", "A mass in the liver", True),
    (LETTERS, "A", "A", True),
    (LETTERS, "A", "a.", True),
    (LETTERS, "D", "D", True),
    (LETTERS, "D", "Do not know", False),
    (LETTERS, "C", "C-shaped", False),
    (LETTERS, "C", "Liver", True),
    (LETTERS, "c", "C", True),
    (LETTERS, "C", "A. Liver", False),
    (LETTERS, "A", "A. Liver", True),
    (NESTED, "B", "viral pneumonia", True),
    (NESTED, "B", "It is a viral pneumonia", True),
    (NESTED, "A", "It is a viral pneumonia", False),
    (NESTED, "A", "pneumonia", True),
    (NESTED, "A", "It is pneumonia", True),
    (NESTED, "A", "pneumonia, a viral pneumonia", False),
    (NESTED, "B", "viral pneumonia, viral pneumonia", True),
    (NESTED, "D", "none of the above", True),
    (NESTED, "D", "none", False),
    (SIGNS, "A", "<5 cm", True),
    (SIGNS, "B", "<5 cm", False),
    (SIGNS, "B", "> 5 cm", False),
    (SIGNS, "C", "5 cm", True),
    (SIGNS, "B", "B", True),
    (SIGNS, "C", "five cm", False),
    (NUMBERS, "B", "two", True),
    (NUMBERS, "B", "2", True),
    (NUMBERS, "D", "ten", True),
    (NUMBERS, "A", "10", False),
    (NUMBERS, "A", "I", False),
    (BUGS, "C", "E. coli", True),
    (BUGS, "B", "C. difficile", True),
    (BUGS, "C", "E. coli.", True),
    (BUGS, "C", "It is E. coli", True),
    (BUGS, "C", "C", True),
    (BUGS, "C", "C.", True),
    (BUGS, "D", "b. anthracis", True),
    (PLANES, "A", "A.P. view", True),
    (PLANES, "B", "P.A. view", True),
    (PLANES, "B", "The P.A. view", True),
    (PLANES, "A", "A.P.", False),
    (PLANES, "A", "AP view", True),
    (["A", "B", "AB", "O"], "C", "AB", True),
    (["A", "B", "AB", "O"], "B", "B", True),
    (["B", "A"], "A", "A", True),
    (["Yes", "No"], "A", "yes", True),
    (["Yes", "No"], "B", "No, it is normal", True),
    (["Yes", "No"], "A", "Yes, no doubt", False),
    (["cyst", "cyst"], "A", "cyst", False),
    ([".", "-"], "A", "", False),
    (["+", "-"], "A", "+", True),
    (["+", "-"], "B", "+", False),
    (["+", "-"], "A", "positive", False),
]


def test_there_are_two_hundred_pairs() -> None:
    assert len(CLOSED) + len(OPEN) + len(CHOICE) >= 200


@pytest.mark.parametrize(("truth", "answer", "right"), CLOSED)
def test_closed(truth: str, answer: str, right: bool) -> None:
    assert is_correct(answer, truth, "closed") is right


@pytest.mark.parametrize(("truth", "answer", "right"), OPEN)
def test_open(truth: str, answer: str, right: bool) -> None:
    assert is_correct(answer, truth, "open") is right


@pytest.mark.parametrize(("options", "truth", "answer", "right"), CHOICE)
def test_multiple_choice(options: list[str], truth: str, answer: str, right: bool) -> None:
    assert is_correct(answer, truth, "multiple_choice", options) is right


@pytest.mark.parametrize(("kind", "truth"), [("closed", "yes"), ("open", "left"), ("multiple_choice", "A")])
def test_no_answer_is_wrong(kind: str, truth: str) -> None:
    assert is_correct(None, truth, kind, ["left", "right"]) is False


@pytest.mark.parametrize("truth", ["E", "", " ", "AB", "Left lung", "1", "ß", "@"])
def test_a_truth_that_is_no_letter_is_an_error(truth: str) -> None:
    with pytest.raises(ValueError, match="no letter of 4 options"):
        is_correct("A", truth, "multiple_choice", LETTERS)


def test_an_unknown_type_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown question type 'CLOSED'"):
        is_correct("yes", "yes", "CLOSED")


@pytest.mark.parametrize(
    ("answer", "truth", "f1"),
    [
        ("left lung", "left lung", 1.0),
        ("lung", "left lung", 2 / 3),
        ("the lung", "left lung", 2 / 3),
        ("left lung base", "left lung", 0.8),
        ("left left", "left lung", 0.5),
        ("liver", "left lung", 0.0),
        ("two", "2", 1.0),
        ("", "left", 0.0),
        ("left", "", 0.0),
        (None, "left", 0.0),
    ],
)
def test_token_f1(answer: str | None, truth: str, f1: float) -> None:
    assert token_f1(answer, truth) == pytest.approx(f1)


words = st.text(max_size=40) | st.lists(
    st.sampled_from(["yes", "no", "A", "B.", "(", "left", "lung", "3.4", ".", "the", "two", "*"]), max_size=8
).map(" ".join)


@given(words)
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@given(words, words)
def test_open_is_symmetric_and_agrees_with_f1(first: str, second: str) -> None:
    right = is_correct(first, second, "open")
    assert right == is_correct(second, first, "open")
    assert not right or token_f1(first, second) == 1.0
    assert 0.0 <= token_f1(first, second) <= 1.0


@given(words)
def test_polarity_cannot_be_both(text: str) -> None:
    assert not (is_correct(text, "yes", "closed") and is_correct(text, "no", "closed"))
    assert polarity(text) in ("yes", "no", None)


@given(words, st.lists(words, min_size=2, max_size=6))
def test_at_most_one_letter_is_right(answer: str, options: list[str]) -> None:
    right = [is_correct(answer, "ABCDEF"[index], "multiple_choice", options) for index in range(len(options))]
    chosen = chosen_option(answer, options)
    assert right == [index == chosen for index in range(len(options))]


@pytest.mark.parametrize("piece", ["(", "**", "a.", "no ", "left lung ", "1.", ". ", "\u0301"])
def test_scoring_takes_linear_time(piece: str) -> None:
    import time

    text = piece * (300_000 // len(piece))
    start = time.perf_counter()
    is_correct(text, "yes", "closed")
    is_correct(text, "left lung", "open")
    is_correct(text, "A", "multiple_choice", LETTERS)
    assert time.perf_counter() - start < 5
