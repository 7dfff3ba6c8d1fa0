"""`medeyes-verl experts build`: GRN and CVS over a training file, with the oracle of one's choice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from medeyes_verl.distribution.ray_cluster import over_workers
from medeyes_verl.expert.build import BuildCounts, Outcome, attempt, build
from medeyes_verl.expert.question import Question
from medeyes_verl.expert.sampler import SamplerSettings, sample
from medeyes_verl.expert.store import StoreWriter
from medeyes_verl.reward.answer import is_correct

if TYPE_CHECKING:
    from medeyes_verl.expert.oracles.protocol import Oracle

QUESTIONS_A_SHARD = 64
"""Questions that travel to a Ray actor at once."""


@dataclass(frozen=True)
class Plan:
    """All that a process needs to sample questions; travels to Ray actors."""

    make_oracle: Callable[[], Oracle]
    settings: SamplerSettings
    seed: int
    concurrency: int
    """Questions at once, in one process."""


def is_right(question: Question, answer: str) -> bool:
    """Judge a trajectory's answer by the reward's own rule."""
    return is_correct(answer, question.ground_truth, question.question_type, question.options)


def build_here(
    plan: Plan, questions: Iterable[Question], writer: StoreWriter, progress: Callable[[], None]
) -> BuildCounts:
    """Build in this process."""

    async def run() -> BuildCounts:
        oracle = plan.make_oracle()
        try:
            return await build(questions, _maker(plan, oracle), writer, plan.concurrency, progress)
        finally:
            await oracle.close()

    return asyncio.run(run())


def build_on_ray(
    plan: Plan, questions: Iterable[Question], writer: StoreWriter, workers: int, progress: Callable[[], None]
) -> BuildCounts:
    """Build on `workers` Ray actors, of the cluster in RAY_ADDRESS or of this machine; only this process writes.

    Images and the cache have to be on a file system that all machines share.
    """
    counts = BuildCounts()
    shards = _shards(questions, writer, counts, progress)
    for outcomes in over_workers(partial(ShardSampler, plan), shards, workers):
        for expert_id, outcome in outcomes:
            counts.settle(writer, expert_id, outcome)
            progress()
    return counts


class ShardSampler:
    """Samples shards of questions with one oracle, and so within its share of the budget."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._oracle = plan.make_oracle()

    async def __call__(self, questions: list[Question]) -> list[tuple[str, Outcome]]:
        """What became of each question."""
        turns = asyncio.Semaphore(self._plan.concurrency)
        make = _maker(self._plan, self._oracle)

        async def one(question: Question) -> tuple[str, Outcome]:
            async with turns:
                return question.expert_id, await attempt(question, make)

        return await asyncio.gather(*(one(question) for question in questions))


def _maker(plan: Plan, oracle: Oracle) -> Callable[[Question], Any]:
    return lambda question: sample(question, oracle, plan.settings, plan.seed, is_right)


def _shards(
    questions: Iterable[Question], writer: StoreWriter, counts: BuildCounts, progress: Callable[[], None]
) -> Iterator[list[Question]]:
    def new() -> Iterator[Question]:
        for question in questions:
            if question.expert_id in writer:
                counts.known += 1
                progress()
            else:
                yield question

    fresh = new()
    while not counts.stopped and (shard := list(islice(fresh, QUESTIONS_A_SHARD))):
        yield shard
