"""What a scripted expert says: sentences about the question for a real model, a few fixed words for the tiny policy.

The sentences' wording is a file, prompts/default/script.yaml.

Sentences are made from what the table says: the question, what the image is labelled as, where a gaze lies, and what
the benchmark marks there. Where nothing is marked they say where the expert looks, and never what is seen.
"""

from __future__ import annotations

import random
import re
from typing import Any, Literal, Protocol, get_args

from medeyes_verl.expert.question import Question
from medeyes_verl.expert.wording import image_words, place_of
from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.prompts.templates import phrases

ScriptStyle = Literal["sentences", "terse"]
SCRIPT_STYLES: tuple[ScriptStyle, ...] = get_args(ScriptStyle)
QUESTION_CHARACTERS = 200
"""A longer question is quoted up to here."""
LABEL_CHARACTERS = 60
LABELLED_SHARE = 0.5
"""Share of trajectories that also say what the image is labelled as."""
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

    def __init__(self, question: Question, rng: random.Random, prompts: str | None = None) -> None:
        self._asked = readable(question.text, QUESTION_CHARACTERS)
        named = (question.modality, question.location, question.organ)
        labels = dict.fromkeys(readable(each, LABEL_CHARACTERS) for each in named if each and each.strip())
        self._labels = ", ".join(labels)
        self._sizes = question.image_sizes
        self._rng = rng
        self._prompts = prompts
        self._places: list[str] = []
        self._turns = 0

    def whole(self, image: int) -> str:
        return self._turn(self._say("whole", image=image_words(self._prompts, self._number(image))))

    def look(self, box: Box, image: int, missed: bool) -> str:
        place = place_of(box, Size(*self._sizes[image - 1]), self._prompts, self._number(image))
        self._places.append(place)
        before = self._say("missed") + self._say("after_sentence") if missed else ""
        return self._turn(before + self._say("look" if len(self._places) == 1 else "look_on", place=place))

    def conclude(self, label: str | None) -> str:
        if label:
            label = readable(label, LABEL_CHARACTERS)
            return self._say("conclude_seen", place=self._places[-1], label=label, question=self._asked)
        return self._say("conclude_looked", places=self._listed(), question=self._asked)

    def _turn(self, words: str) -> str:
        """The words of a gaze; the first one names what is asked."""
        self._turns += 1
        if self._turns > 1:
            return words
        asked = self._say("asked", question=self._asked)
        if self._labels and self._rng.random() < LABELLED_SHARE:
            asked += self._say("after_sentence") + self._say("labelled", labels=self._labels)
        return asked + self._say("after_sentence") + words

    def _say(self, name: str, **values: Any) -> str:
        """One of the wordings of a name; nothing is drawn where there is one."""
        wordings = phrases(self._prompts, "script.yaml")[name]
        return (wordings[0] if len(wordings) == 1 else self._rng.choice(wordings)).render(values)

    def _number(self, image: int) -> int | None:
        return None if len(self._sizes) == 1 else image

    def _listed(self) -> str:
        """The places that were looked at, one after the other."""
        places = list(dict.fromkeys(self._places))
        if not places:
            return self._say("whole_image")
        *before, last = places
        return self._say("between_places").join(before) + (self._say("before_last_place") if before else "") + last


def readable(text: str, limit: int) -> str:
    """A table's text as it may stand inside a turn: one line, tags in square brackets, at most `limit` characters.

    >>> readable("Is <answer> < 3 cm?", 80)
    'Is [answer] < 3 cm?'
    """
    line = " ".join(_TAG.sub(r"[\1]", text).split())
    if len(line) <= limit:
        return line or "…"
    return line[: limit - 1].rstrip() + "…"
