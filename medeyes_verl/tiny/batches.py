"""Batches for the warm-up, made ahead in a thread of their own while the last one is being learnt."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from medeyes_verl.gaze.episode import EpisodeSettings
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.tiny.auxiliary import TokenTargets, token_targets
from medeyes_verl.tiny.examples import Example, ExpertRow, Replayer, giving_up
from medeyes_verl.tiny.vision import Picture

POOL = 4
"""Batches made at a time, so that trajectories of about one length can share one."""


@dataclass(frozen=True, slots=True)
class Batch:
    """B trajectories of up to T tokens, padded on the right; N picture tokens in all."""

    ids_BT: Tensor
    weights_BT: Tensor
    """Of each token in the loss: 0 where it is not the model's own."""
    attention_BT: Tensor
    pictures: list[Picture]
    """In the order of their tokens."""
    marked_N: Tensor
    """True at the picture tokens of which the data marks what they show."""
    targets: TokenTargets | None
    """For the marked tokens; None when there are none."""


@dataclass(frozen=True, slots=True)
class Habits:
    """What a policy is to be in the habit of, whatever it knows how to do; as given, all that the trajectories show."""

    gives_up: float = 0.0
    """Share of the trajectories in place of which the answer `unknown`, without a gaze, is learnt."""
    gazing: float = 1.0
    """Weight in the loss of the reasoning before the first gaze."""
    going_on: float = 1.0
    """Weight in the loss of the reasoning before every later gaze."""


class BatchMaker:
    """Draws trajectories and replays them: every row once an epoch, each time with one of its trajectories."""

    def __init__(
        self,
        rows: Sequence[ExpertRow],
        episode: EpisodeSettings,
        tokens: PolicyTokens,
        batch_size: int,
        seed: int,
        habits: Habits = Habits(),
    ) -> None:
        self._replayer = Replayer(episode, tokens)
        self._habits = habits
        self._multiple = episode.view.multiple
        self._batch_size = batch_size
        self._rng = random.Random(seed)
        self._draws = self._draw(rows)
        self._plain_draws = self._draw([row for row in rows if len(row.question.regions) == 1] or rows)
        self._pad = tokens.tokenizer.pad_token_id
        self.labels = sorted({r.label for row in rows for r in row.question.regions if r.target})
        """Every label a target has."""
        self._label_numbers = {label: number for number, label in enumerate(self.labels)}

    def make(self, cut_share: float, plain: bool = False) -> list[Batch]:
        """Make the next POOL batches; a `cut_share` of their trajectories, by chance, end with their first turn.

        With `plain` only rows with one marked region, where there are any, each with the right trajectory of the fewest
        gazes: the picture alone then decides where to look. Else all rows, each with any of its trajectories.

        Trajectories of about one length share a batch, which halves the padding; the batches come in random order.
        """
        examples = []
        for row in islice(self._plain_draws if plain else self._draws, POOL * self._batch_size):
            if plain:
                trajectory = min(row.trajectories, key=lambda each: (not each.correct, len(each.steps)))
            else:
                trajectory = self._rng.choice(row.trajectories)
            habits = self._habits
            if habits.gives_up and self._rng.random() < habits.gives_up:
                trajectory = giving_up(trajectory)
            if self._rng.random() < cut_share:
                examples.append(self._replayer.first_turn(row, trajectory, habits.gazing))
            else:
                examples.append(self._replayer.whole(row, trajectory, habits.going_on, habits.gazing))
        examples.sort(key=lambda example: len(example.ids))
        starts = self._rng.sample(range(0, len(examples), self._batch_size), POOL)
        return [self._batch(examples[start : start + self._batch_size]) for start in starts]

    def _batch(self, examples: Sequence[Example]) -> Batch:
        length = max(len(example.ids) for example in examples)
        targets = [self._targets(example) for example in examples]
        marked = [part for parts in targets for part in parts if part is not None]
        return Batch(
            ids_BT=_padded([example.ids for example in examples], length, self._pad),
            weights_BT=_padded([example.weights for example in examples], length, 0.0),
            attention_BT=_padded([[1] * len(example.ids) for example in examples], length, 0),
            pictures=[picture for example in examples for picture in example.pictures],
            marked_N=torch.cat(
                [
                    torch.full((math.prod(self._grid(picture)),), part is not None)
                    for example, parts in zip(examples, targets, strict=True)
                    for picture, part in zip(example.pictures, parts, strict=True)
                ]
            ),
            targets=TokenTargets.joined(marked) if marked else None,
        )

    def _draw(self, rows: Sequence[ExpertRow]) -> Iterator[ExpertRow]:
        while True:
            yield from self._rng.sample(rows, len(rows))

    def _targets(self, example: Example) -> list[TokenTargets | None]:
        """For each picture; None where nothing is marked on what it shows."""
        regions = example.question.regions
        return [
            token_targets(
                regions,
                self._label_numbers,
                part,
                self._grid(picture),
                is_view=number == 0,
            )
            if part is not None and regions
            else None
            for number, (picture, part) in enumerate(zip(example.pictures, example.parts, strict=True))
        ]

    def _grid(self, picture: Picture) -> tuple[int, int]:
        """Rows and columns of merged tokens."""
        return picture.shape[0] // self._multiple, picture.shape[1] // self._multiple


def made_ahead(next_job: Callable[[], Callable[[], list[Batch]]]) -> Iterator[Batch]:
    """Batches without end, the next pool in the making while one is used.

    `next_job` is called in the caller's thread, and what it returns is run in the other one.
    """
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(next_job())
        while True:
            pool = waiting.result()
            waiting = thread.submit(next_job())
            yield from pool


def _padded(rows: Sequence[Sequence[float]], length: int, filler: float) -> Tensor:
    return torch.tensor([[*row, *[filler] * (length - len(row))] for row in rows])
