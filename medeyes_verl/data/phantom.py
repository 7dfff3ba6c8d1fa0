"""The phantom benchmark: questions about phantom pictures, as rows like those of any other benchmark.

Every row is a function of (seed, split, index) and the difficulty, so any single one can be made again. The
true box of the lesion and of every decoy is in `regions`; the lesion's is the target.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image

from medeyes_verl.data.image_store import ImageStore
from medeyes_verl.data.phantom_images import CLASSES, DIFFICULTIES, Phantom, draw_phantom
from medeyes_verl.data.row import LETTERS, QuestionType, Region, Row, Split
from medeyes_verl.gaze.geometry import Box

DATA_SOURCE = "phantom"


@dataclass(frozen=True, slots=True)
class QuestionMix:
    """Shares of the question types; they add up to 1."""

    open: float = 1.0
    """ "What is the lesion?", answered by its class."""
    closed: float = 0.0
    """ "Is there a ring lesion?", answered by yes or no, each as often."""
    multiple_choice: float = 0.0
    """ "Which lesion is it?" with all classes as options in random order, answered by a letter."""

    def __post_init__(self) -> None:
        shares = (self.open, self.closed, self.multiple_choice)
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"question shares must be at least 0 and add up to 1: {self}")


@dataclass(frozen=True, slots=True)
class PhantomSettings:
    """All that a phantom row depends on besides its split and index."""

    difficulty: str = "easy"
    """A key of DIFFICULTIES."""
    mix: QuestionMix = QuestionMix()
    seed: int = 0
    """At least 0."""

    def __post_init__(self) -> None:
        if self.difficulty not in DIFFICULTIES:
            raise ValueError(f"unknown difficulty {self.difficulty!r}: one of {', '.join(DIFFICULTIES)}")
        if self.seed < 0:
            raise ValueError(f"the seed must be at least 0, not {self.seed}")


@dataclass(frozen=True, slots=True)
class PhantomQuestion:
    text: str
    answer: str
    """For a multiple-choice question the letter of the right option."""
    type: QuestionType
    options: tuple[str, ...] = ()


def make_phantom(settings: PhantomSettings, split: Split, index: int) -> tuple[Phantom, PhantomQuestion]:
    """The picture and the question of one row; the same call gives the same result in any order."""
    rng = np.random.default_rng((settings.seed, get_args(Split).index(split), index))
    phantom = draw_phantom(DIFFICULTIES[settings.difficulty], rng)
    return phantom, _ask(phantom.lesion.label, settings.mix, rng)


def make_phantom_row(settings: PhantomSettings, split: Split, index: int, root: Path) -> Row:
    """One row, its picture written into the image store of `root`."""
    phantom, question = make_phantom(settings, split, index)
    name = f"{DATA_SOURCE}-{settings.difficulty}-{settings.seed}-{split}-{index}"
    return Row(
        data_source=DATA_SOURCE,
        split=split,
        id=name,
        question=question.text,
        answer=question.answer,
        question_type=question.type,
        pictures=(ImageStore(root).add_bytes(_png(phantom), name),),
        options=question.options,
        expert_id=name if split == "train" else None,
        regions=tuple(Region(Box(*blob.bounds), blob.label, blob.is_lesion) for blob in phantom.blobs),
    )


def _ask(label: str, mix: QuestionMix, rng: np.random.Generator) -> PhantomQuestion:
    draw = rng.random()
    if draw < mix.open:
        return PhantomQuestion("What is the lesion?", label, "open")
    if draw < mix.open + mix.closed:
        others = [other for other in CLASSES if other != label]
        named = label if rng.random() < 0.5 else others[rng.integers(len(others))]
        return PhantomQuestion(f"Is there a {named} lesion?", "yes" if named == label else "no", "closed")
    options = tuple(CLASSES[place] for place in rng.permutation(len(CLASSES)))
    letter = LETTERS[options.index(label)]
    return PhantomQuestion("Which lesion is it?", letter, "multiple_choice", options)


def _png(phantom: Phantom) -> bytes:
    buffer = io.BytesIO()
    # Noise does not compress: the cheapest setting gives the same size as the dearest.
    Image.fromarray(phantom.pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
