"""`medeyes-verl experts build`: GRN and CVS over a training file, with the oracle of one's choice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medeyes_verl.distribution.ray_cluster import over_workers
from medeyes_verl.expert.build import BuildCounts, Outcome, attempt, build
from medeyes_verl.expert.oracles.annotations import AnnotationOracle
from medeyes_verl.expert.oracles.client import HttpSettings
from medeyes_verl.expert.oracles.endpoint import EndpointOracle, EndpointSettings
from medeyes_verl.expert.oracles.medplib import MedplibOracle, MedplibSettings
from medeyes_verl.expert.oracles.region_book import RegionBook
from medeyes_verl.expert.oracles.slake import read_slake
from medeyes_verl.expert.oracles.user_boxes import read_coco, read_csv
from medeyes_verl.expert.question import Question
from medeyes_verl.expert.sampler import SamplerSettings, sample
from medeyes_verl.expert.store import StoreWriter
from medeyes_verl.gaze.crop import PixelBounds
from medeyes_verl.gaze.geometry import Frame
from medeyes_verl.reward.answer import is_correct

if TYPE_CHECKING:
    from medeyes_verl.expert.oracles.protocol import Oracle

QUESTIONS_A_SHARD = 64
"""Questions that travel to a Ray actor at once."""


OracleName = Literal["annotations", "slake", "coco", "csv", "endpoint", "medplib"]


@dataclass(frozen=True)
class Plan:
    """All that a process needs to sample questions; travels to Ray actors."""

    make_oracle: Callable[[], Oracle]
    settings: SamplerSettings
    seed: int
    concurrency: int
    """Questions at once, in one process."""


@dataclass(frozen=True)
class OracleChoice:
    """What the command line says about the oracle."""

    name: OracleName
    annotations: Path | None
    """SLAKE's folder, a COCO file or a CSV file."""
    pictures: Path | None
    """Folder that the file names of a COCO or CSV file start from."""
    http: HttpSettings
    model: str
    frame: Frame
    bounds: PixelBounds
    structured: bool
    cache: Path | None

    def factory(self, settings: SamplerSettings) -> tuple[Callable[[], Oracle], list[str]]:
        """What makes the oracle, and the lines about annotations that could not be taken.

        Raises ValueError where something it needs was not given.
        """
        episode = settings.episode
        if self.name == "endpoint":
            _need(self.http.url, "--url")
            _need(self.model, "--model")
            endpoint = EndpointSettings(
                self.http, self.model, self.frame, self.bounds, self.structured, cache=self.cache
            )
            return partial(EndpointOracle, endpoint), []
        if self.name == "medplib":
            _need(self.http.url, "--url")
            return partial(MedplibOracle, MedplibSettings(self.http, self.bounds, cache=self.cache)), []
        if self.name == "annotations":
            return partial(AnnotationOracle, episode.view, episode.crop), []
        book = self._book()
        return partial(AnnotationOracle, episode.view, episode.crop, book), book.rejected

    def _book(self) -> RegionBook:
        path = _need(self.annotations, "--annotations")
        if self.name == "slake":
            return read_slake(path)
        read = read_coco if self.name == "coco" else read_csv
        return read(path, _need(self.pictures, "--pictures"))


def is_right(question: Question, answer: str) -> bool:
    """The judge of trajectories: the reward's own rule."""
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


def share_of_budget(http: HttpSettings, workers: int) -> HttpSettings:
    """The budget and the concurrency of one of `workers` processes."""
    return replace(
        http,
        concurrency=max(1, http.concurrency // workers),
        max_requests=None if http.max_requests is None else http.max_requests // workers,
        max_tokens=None if http.max_tokens is None else http.max_tokens // workers,
    )


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


def _need(value: Any, option: str) -> Any:
    if not value:
        raise ValueError(f"this oracle needs {option}")
    return value
