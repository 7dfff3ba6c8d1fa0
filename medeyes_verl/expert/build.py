"""A build: every question of a file sampled, many at once, and written to a store.

May be killed at any moment. What was committed stays, what was not is sampled again with the same result
(the endpoint's cache answers what was already asked), and nothing is written twice. A question that fails
is counted, named and left out of the store, so that the next build takes it up again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from medeyes_verl.expert.oracles.protocol import OracleDownError, OracleError
from medeyes_verl.expert.question import Question
from medeyes_verl.expert.sampler import Sampled
from medeyes_verl.expert.store import StoreWriter

Make = Callable[[Question], Awaitable[Sampled]]
"""Samples one question."""
Outcome = Sampled | OracleError | OracleDownError | ValueError
"""What becomes of one question: its trajectories, or why there are none."""
FAILURES_IN_A_ROW = 20
"""So many failed questions without a success between them mean that something is wrong with all of them."""


@dataclass(slots=True)
class BuildCounts:
    """What a build did."""

    questions: int = 0
    known: int = 0
    """Questions that the store had before."""
    trajectories: int = 0
    wrong: int = 0
    """Trajectories whose answer is labelled wrong."""
    shortfall: int = 0
    """Trajectories asked for and not made."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Walks and oracle's words that were not taken, by reason."""
    failed: dict[str, str] = field(default_factory=dict)
    """Questions that failed: why, by expert_id. A later build takes them up again."""
    stopped: str | None = None
    """Why the build gave up before its last question; None when it did not."""
    failed_in_a_row: int = 0

    def settle(self, writer: StoreWriter, expert_id: str, outcome: Outcome) -> None:
        """Write and count what became of one question."""
        if isinstance(outcome, Sampled):
            writer.add(expert_id, outcome.trajectories, outcome.record)
            self.questions += 1
            self.trajectories += len(outcome.trajectories)
            self.wrong += sum(not each.correct for each in outcome.trajectories)
            self.shortfall += int(outcome.record["shortfall"])
            self.rejected.update(outcome.record["rejected"])
            self.failed_in_a_row = 0
        elif isinstance(outcome, OracleDownError):
            self.stopped = self.stopped or str(outcome)
        else:
            self.failed[expert_id] = str(outcome)
            self.failed_in_a_row += 1
            if self.failed_in_a_row >= FAILURES_IN_A_ROW:
                self.stopped = f"{self.failed_in_a_row} questions in a row failed, the last with: {outcome}"


async def build(
    questions: Iterable[Question],
    make: Make,
    writer: StoreWriter,
    concurrency: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> BuildCounts:
    """Sample `questions`, `concurrency` of them at a time, into `writer`; `progress` is called once a question."""
    counts = BuildCounts()
    waiting = iter(questions)

    async def work() -> None:
        for question in waiting:
            if counts.stopped:
                return
            if question.expert_id in writer:
                counts.known += 1
            else:
                counts.settle(writer, question.expert_id, await attempt(question, make))
            progress()

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return counts


async def attempt(question: Question, make: Make) -> Outcome:
    """Sample one question; an expected failure is returned, not raised."""
    gone = [path for path in question.image_paths if not Path(path).is_file()]
    if gone:
        return ValueError(f"its picture is gone: {gone[0]}")
    try:
        return await make(question)
    except (OracleError, OracleDownError, ValueError) as error:
        return error
