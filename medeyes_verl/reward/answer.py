"""Is an answer right? Deterministic, strict, and the same for reward and evaluation: r_acc of the paper.

What published scorers get wrong is avoided by design. Words are compared, not substrings: "no" is not found
inside "normal". Case never matters. A wrong or unreadable answer is wrong, never left out and never drawn at
random.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Literal

QuestionType = Literal["closed", "multiple_choice", "open"]

_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {"none": "0"} | {word: str(value) for value, word in enumerate(_NUMBER_WORDS)}
_ARTICLES = frozenset({"a", "an", "the"})
_POLARITY = {"yes": "yes", "yeah": "yes", "true": "yes", "no": "no", "nope": "no", "false": "no"}
_PUNCTUATION = re.compile(r"(?<!\d)\.|\.(?!\d)|[^\w\s.]|_")
"""Everything but letters, digits and white space; a period between digits is not punctuation."""
_ABBREVIATION = re.compile(r"(?<!\w)[^\W\d_](?:\.[^\W\d_])+(?!\w)")
"""Letters with periods between them. They are joined: apart, A.P. and P.A. would both lose an "article"."""
_LETTER = re.compile(r"""[\s*("'\[]*([a-z])(?:[\s*)\].:"']*\Z|[*)\].:]+(?=\s))""", re.IGNORECASE)
"""One letter at the start, alone or set off: B, (B), B., **B**, "B: text". Not the article of "A mass"."""


def normalise(text: str) -> str:
    """The form in which answers are compared: lower case, words and numbers only, single spaces.

    Punctuation becomes space, number words to ten and "none" become digits, the letters of an abbreviation
    are joined, articles go (but for the last word, which is none: "hepatitis A").

    >>> normalise("The Left lobe, (two) lesions of 3.4 cm.")
    'left lobe 2 lesions of 3.4 cm'
    """
    text = unicodedata.normalize("NFKC", text).lower()
    text = _ABBREVIATION.sub(lambda match: match.group().replace(".", ""), text)
    words = _PUNCTUATION.sub(" ", text).split()
    kept = [word for word in words[:-1] if word not in _ARTICLES] + words[-1:]
    return " ".join(_DIGITS.get(word, word) for word in kept)


def polarity(text: str) -> str | None:
    """The polarity, "yes" or "no", of a text by its whole words; None when it has neither or both.

    >>> polarity("Yes, this is normal."), polarity("normal"), polarity("yes or no")
    ('yes', None, None)
    """
    found = {_POLARITY[word] for word in normalise(text).split() if word in _POLARITY}
    return found.pop() if len(found) == 1 else None


def chosen_option(answer: str, options: Sequence[str]) -> int | None:
    """Which option an answer names, from 0; None when it names none or several.

    In this order: the letter alone; the text of one option as written ("E. coli" is not option E); a letter
    set off at the start; the text of one option after normalisation; the one option that occurs in the answer
    as whole words (inside a longer option that occurs too, it does not count).

    >>> chosen_option("(B) because of its edge", ["Abscess", "Cyst"])
    1
    >>> chosen_option("A cyst", ["Abscess", "Cyst"])
    1
    """
    match = _LETTER.match(answer)
    letter = _index(match.group(1), options) if match else None
    if letter is not None and len(normalise(answer)) == 1:
        return letter
    bare = _bare(answer)
    if as_written := [index for index, option in enumerate(options) if bare and _bare(option) == bare]:
        return _only(as_written)
    if letter is not None:
        return letter
    said, forms = normalise(answer), [normalise(option) for option in options]
    if equal := [index for index, form in enumerate(forms) if said and form == said]:
        return _only(equal)
    return _only(_contained(said, forms))


def is_correct(answer: str | None, ground_truth: str, question_type: str, options: Sequence[str] = ()) -> bool:
    """Whether the answer equals the ground truth.

    closed: the polarity agrees; where the ground truth is neither yes nor no ("left"), as for open.
    multiple_choice: the answer names the option whose LETTER the ground truth is.
    open: equality after normalisation.

    No answer, or one without any word, is wrong. Raises ValueError for another question type, or where the
    ground truth of a multiple-choice question is no letter of its options.
    """
    if question_type == "multiple_choice":
        right = _index(ground_truth, options)
        if right is None:
            raise ValueError(f"the ground truth {ground_truth!r} is no letter of {len(options)} options")
        return answer is not None and chosen_option(answer, options) == right
    if question_type not in ("closed", "open"):
        raise ValueError(f"unknown question type {question_type!r}: closed, multiple_choice and open are known")
    if answer is None:
        return False
    expected = polarity(ground_truth) if question_type == "closed" else None
    if expected is not None:
        return polarity(answer) == expected
    said = normalise(answer)
    return bool(said) and said == normalise(ground_truth)


def token_f1(answer: str | None, ground_truth: str) -> float:
    """F1 of the normalised words, each counted as often as it occurs, in [0, 1]; 0 when either has none.

    >>> round(token_f1("left lung base", "left lung"), 2)
    0.8
    """
    said, expected = Counter(normalise(answer or "").split()), Counter(normalise(ground_truth).split())
    shared = (said & expected).total()
    return 2 * shared / (said.total() + expected.total()) if shared else 0.0


def _index(letter: str, options: Sequence[str]) -> int | None:
    letter = letter.strip().upper()
    position = ascii_uppercase.find(letter) if len(letter) == 1 else -1
    return position if 0 <= position < len(options) else None


def _bare(text: str) -> str:
    """As written but for case, emphasis and a final period."""
    return text.strip(" \t\n.*").lower()


def _only(found: list[int]) -> int | None:
    return found[0] if len(found) == 1 else None


def _contained(said: str, forms: Sequence[str]) -> list[int]:
    """Options whose words occur in the answer; a longer one takes its words out of the search for a shorter."""
    found: list[int] = []
    for form in sorted(set(forms) - {""}, key=len, reverse=True):
        said, times = re.subn(rf"(?<!\S){re.escape(form)}(?!\S)", "|", said)
        if times:
            found += [index for index, other in enumerate(forms) if other == form]
    return found
