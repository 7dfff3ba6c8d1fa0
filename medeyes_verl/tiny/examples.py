"""Training examples: expert trajectories replayed through the real episode and the real conversation.

So the tokens that the warm-up learns are those that a rollout or an expert replay will have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medeyes_verl.data.row import prompt_messages, read_rows
from medeyes_verl.expert.question import Question
from medeyes_verl.expert.store import TrajectoryStore
from medeyes_verl.expert.trajectory import ExpertStep, Trajectory, turn_texts
from medeyes_verl.gaze.conversation import Conversation
from medeyes_verl.gaze.crop import open_picture, view_of
from medeyes_verl.gaze.episode import Episode, EpisodeSettings
from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.gaze.grammar import Fault
from medeyes_verl.gaze.limits import MESSAGES, fault_message
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.gaze.rollout import Completion, rollout
from medeyes_verl.policies.stored import StoredPolicy
from medeyes_verl.tiny.vision import Picture

MAX_TOKENS = 1 << 16
"""Of a replay's response: more than any episode has."""
VIEWS_KEPT = 4096
"""Views of a tiny policy in memory, 50 KB each."""


@dataclass(frozen=True, slots=True)
class ExpertRow:
    """A training question with its trajectories that fit into an episode."""

    question: Question
    messages: list[dict[str, Any]]
    trajectories: tuple[Trajectory, ...]


@dataclass(frozen=True, slots=True)
class ExpertRows:
    rows: tuple[ExpertRow, ...]
    counts: dict[str, int] = field(default_factory=dict)
    """What was read and what was left out, by name."""


def read_expert_rows(parquet: Path, store: Path, settings: EpisodeSettings, wrong_answers: bool = False) -> ExpertRows:
    """All rows of `parquet` with a usable trajectory in `store`; `wrong_answers` are usable only where asked for.

    Raises ValueError naming the files when there is none.
    """
    known = TrajectoryStore(store)
    counts = {"questions": 0, "trajectories": 0, "without experts": 0, "wrong answer": 0, "too many gazes": 0}
    rows = []
    for row in read_rows(parquet):
        if row["extra_info"]["expert_id"] is None:
            counts["without experts"] += 1
            continue
        question = Question.from_row(row)
        usable = []
        for trajectory in known.get(question.expert_id):
            if not (trajectory.correct or wrong_answers):
                counts["wrong answer"] += 1
            elif len(trajectory.steps) > settings.max_gazes:
                counts["too many gazes"] += 1
            else:
                usable.append(trajectory)
        if usable:
            rows.append(ExpertRow(question, prompt_messages(row), tuple(usable)))
            counts["questions"] += 1
            counts["trajectories"] += len(usable)
        else:
            counts["without experts"] += 1
    if not rows:
        raise ValueError(f"no row of {parquet} has a usable trajectory in {store}: {counts}")
    return ExpertRows(tuple(rows), counts)


@dataclass(frozen=True, slots=True)
class Example:
    """One trajectory as the model sees it."""

    ids: list[int]
    weights: list[float]
    """Of each token in the loss: 1 for the model's own, 0 for the prompt and the environment's."""
    pictures: tuple[Picture, ...]
    """The views, then the crops, in the order of their tokens."""
    parts: tuple[Box | None, ...]
    """The part of the FIRST original that each picture shows, in its pixels; None where it shows another."""
    question: Question


ORIGINALS_KEPT = 320
"""All of VQA-RAD's, somewhat under a gigabyte: to decode one takes longer than to learn from it."""


class Replayer:
    """Replays trajectories. Views are kept, since every first turn needs one; crops are cut anew."""

    def __init__(self, settings: EpisodeSettings, tokens: PolicyTokens) -> None:
        self._settings = settings
        self._tokens = tokens
        self._original = lru_cache(ORIGINALS_KEPT)(open_picture)
        self._view = lru_cache(VIEWS_KEPT)(lambda path: view_of(self._original(path), settings.view))

    def first_turn(self, row: ExpertRow, trajectory: Trajectory, gazing: float = 1.0) -> Example:
        """Replay the trajectory as far as its first turn, which needs no crop; `gazing` as in `whole`."""
        views = [self._view(path) for path in row.question.image_paths]
        conversation = Conversation(self._tokens, row.messages, views, MAX_TOKENS)
        text = turn_texts(trajectory, self._settings, row.question.image_sizes)[0]
        conversation.take(Completion(text))
        example = _example(row, conversation, [])
        self._weigh_decisions(example, conversation, [text][: len(trajectory.steps)], [gazing])
        return example

    def whole(self, row: ExpertRow, trajectory: Trajectory, going_on: float = 1.0, gazing: float = 1.0) -> Example:
        """Replay the trajectory from the question to the answer.

        `gazing` is the weight of the reasoning before the first gaze, `going_on` of that before every later one: with
        little of it a policy learns where to gaze, but hardly that it gazes at all, or again.
        """
        texts = turn_texts(trajectory, self._settings, row.question.image_sizes)
        episode = Episode([self._original(path) for path in row.question.image_paths], self._settings)
        conversation = Conversation(self._tokens, row.messages, episode.views, MAX_TOKENS)
        asyncio.run(rollout(episode, conversation, StoredPolicy(texts)))
        example = _example(row, conversation, trajectory.steps)
        gazes = texts[: len(trajectory.steps)]
        self._weigh_decisions(example, conversation, gazes, [gazing, *[going_on] * len(gazes)])
        return example

    def _weigh_decisions(
        self, example: Example, conversation: Conversation, gazes: Sequence[str], weights: Sequence[float]
    ) -> None:
        """Give the reasoning before each gaze its weight in the loss; `gazes` are the texts of those turns."""
        for text, start, weight in zip(gazes, _turn_starts(conversation), weights, strict=False):
            length = self._reasoning_length(text)
            example.weights[start : start + length] = [weight] * length

    def _reasoning_length(self, text: str) -> int:
        """Tokens of a turn up to its reasoning's last word."""
        end = text.index("</reasoning>")
        places = self._tokens.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return sum(stop <= end for _, stop in places)


def _turn_starts(conversation: Conversation) -> list[int]:
    """Where the model's turns begin, counted from the prompt's first token: observations lie between them."""
    mask = conversation.response_mask
    prompt = len(conversation.prompt_ids)
    return [prompt + place for place, own in enumerate(mask) if own and (place == 0 or not mask[place - 1])]


def _example(row: ExpertRow, conversation: Conversation, steps: Sequence[ExpertStep]) -> Example:
    width, height = row.question.image_sizes[0]
    other_views = [None] * (len(row.question.image_paths) - 1)
    crops = [step.box if step.image == 1 else None for step in steps]
    return Example(
        ids=conversation.prompt_ids + conversation.response_ids,
        weights=[0.0] * len(conversation.prompt_ids) + [float(own) for own in conversation.response_mask],
        pictures=tuple(np.asarray(picture) for picture in conversation.pictures),
        parts=(Box(0, 0, width, height), *other_views, *crops),
        question=row.question,
    )


def giving_up(trajectory: Trajectory) -> Trajectory:
    """Answer `unknown` without a gaze, in place of all that the trajectory does."""
    return replace(trajectory, steps=(), conclusion="done", answer="unknown", correct=False)


def corpus(rows: Sequence[ExpertRow], settings: EpisodeSettings, gives_up: bool = False) -> Iterator[str]:
    """All text that can come up in an episode: questions, expert turns, and what the environment says of faults."""
    for row in rows:
        for message in row.messages:
            yield from (part["text"] for part in message["content"] if part["type"] == "text")
        for trajectory in row.trajectories:
            yield from turn_texts(trajectory, settings, row.question.image_sizes)
            if gives_up:
                yield from turn_texts(giving_up(trajectory), settings, row.question.image_sizes)
    blank = Image.new("RGB", Size(settings.view.multiple * 4, settings.view.multiple * 4))
    limits = Episode([blank], settings).limits()
    for fault in Fault:
        if fault in MESSAGES:
            yield fault_message(fault, limits)
            yield fault_message(fault, limits)
