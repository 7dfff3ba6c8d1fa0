"""What a scripted expert says: sentences about the question for a real model, a few fixed words for the tiny policy.

Sentences are made from what the table says: the question, what the image is labelled as, where a gaze lies, and what
the benchmark marks there. Where nothing is marked they say where the expert looks, and never what is seen.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Literal, Protocol, get_args

from medeyes_verl.expert.question import Question
from medeyes_verl.expert.wording import place_of
from medeyes_verl.gaze.geometry import Box, Size

ScriptStyle = Literal["sentences", "terse"]
SCRIPT_STYLES: tuple[ScriptStyle, ...] = get_args(ScriptStyle)
QUESTION_CHARACTERS = 200
"""A longer question is quoted up to here."""
LABEL_CHARACTERS = 60
LABELLED_SHARE = 0.5
"""Share of trajectories that also say what the image is labelled as."""

ASKED = (
    'The question is: "{question}"',
    'I am asked: "{question}"',
    'What has to be answered is: "{question}"',
    'Here is what I need to find out: "{question}"',
)
LABELLED = "The image is labelled {labels}."
WHOLE = (
    "First I look at {image} as a whole.",
    "I begin with an overview of {image}.",
    "Before any detail I take in all of {image}.",
)
LOOK = (
    "I look closer at the {place}.",
    "I zoom in on the {place} with the question in mind.",
    "The {place} is where I look for the answer.",
)
LOOK_ON = (
    "I go on to the {place}.",
    "Next I check the {place}.",
    "To be thorough I also look at the {place}.",
)
MISSED = (
    "That region does not answer the question.",
    "The answer is not in that region.",
    "What was asked is not settled there.",
)
CONCLUDE_SEEN = (
    "The {place} shows {label}, which answers the question.",
    'I see {label} in the {place}. That settles "{question}"',
    "With {label} in the {place} I can answer.",
)
CONCLUDE_LOOKED = (
    'I have looked at the {places}. Now I answer: "{question}"',
    "Having looked at the {places}, I answer what was asked.",
    'The {places} are what I looked at to answer "{question}"',
)
_TAG = re.compile(r"<([^<>\s]+)>")
"""A tag of the grammar, a placeholder of an image, or a special token of a model; "< 3 cm" is none."""


class Words(Protocol):
    """The author of one trajectory's reasoning, called turn by turn."""

    def whole(self, image: int) -> str:
        """Before a gaze at a whole image, counted from 1."""

    def look(self, box: Box, image: int, missed: bool) -> str:
        """Before a gaze at a part; `missed`: the part before it was marked, and not as the target."""

    def conclude(self, label: str | None) -> str:
        """Beside the answer; `label`: what the benchmark calls the target that was looked at."""


class Terse:
    """The vocabulary of the tiny policy."""

    def __init__(self, closer: str) -> None:
        self._closer = closer

    def whole(self, image: int) -> str:
        return "scan"

    def look(self, box: Box, image: int, missed: bool) -> str:
        return "empty" if missed else self._closer

    def conclude(self, label: str | None) -> str:
        return f"{label} seen" if label else "done"


class Sentences:
    """Sentences about one question, in wordings drawn from `rng`."""

    def __init__(self, question: Question, rng: random.Random) -> None:
        self._asked = readable(question.text, QUESTION_CHARACTERS)
        named = (question.modality, question.location, question.organ)
        labels = dict.fromkeys(readable(each, LABEL_CHARACTERS) for each in named if each and each.strip())
        self._labels = ", ".join(labels)
        self._sizes = question.image_sizes
        self._rng = rng
        self._places: list[str] = []
        self._turns = 0

    def whole(self, image: int) -> str:
        return self._turn(self._rng.choice(WHOLE).format(image=self._image(image)))

    def look(self, box: Box, image: int, missed: bool) -> str:
        place = self._place(box, image)
        self._places.append(place)
        before = f"{self._rng.choice(MISSED)} " if missed else ""
        looks = LOOK if len(self._places) == 1 else LOOK_ON
        return self._turn(before + self._rng.choice(looks).format(place=place))

    def conclude(self, label: str | None) -> str:
        if label:
            label = readable(label, LABEL_CHARACTERS)
            words = self._rng.choice(CONCLUDE_SEEN)
            return words.format(place=self._places[-1], label=label, question=self._asked)
        places = listed(list(dict.fromkeys(self._places))) if self._places else "whole image"
        return self._rng.choice(CONCLUDE_LOOKED).format(places=places, question=self._asked)

    def _turn(self, words: str) -> str:
        """The words of a gaze; the first one names what is asked."""
        self._turns += 1
        if self._turns > 1:
            return words
        asked = self._rng.choice(ASKED).format(question=self._asked)
        if self._labels and self._rng.random() < LABELLED_SHARE:
            asked += " " + LABELLED.format(labels=self._labels)
        return f"{asked} {words}"

    def _image(self, image: int) -> str:
        return "the image" if len(self._sizes) == 1 else f"image {image}"

    def _place(self, box: Box, image: int) -> str:
        place = place_of(box, Size(*self._sizes[image - 1]))
        return place if len(self._sizes) == 1 else place.replace("the image", f"image {image}")


def readable(text: str, limit: int) -> str:
    """A table's text as it may stand inside a turn: one line, tags in square brackets, at most `limit` characters.

    >>> readable("Is <answer> < 3 cm?", 80)
    'Is [answer] < 3 cm?'
    """
    line = " ".join(_TAG.sub(r"[\1]", text).split())
    if len(line) <= limit:
        return line or "…"
    return line[: limit - 1].rstrip() + "…"


def listed(places: Sequence[str]) -> str:
    """One, two or more places as words.

    >>> listed(["left", "middle", "right"])
    'left, the middle and the right'
    """
    if len(places) == 1:
        return places[0]
    return ", the ".join(places[:-1]) + " and the " + places[-1]
