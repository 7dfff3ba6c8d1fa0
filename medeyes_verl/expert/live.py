"""Experts made during training: where the store has no trajectory, an oracle makes it within a time limit.

All sessions of a prompt that wait for the same question share one walk. A walk that takes longer than the
limit goes on by itself and is stored when it is done, so that the question has its experts the next time;
its session falls back to the policy, and that is counted.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

from medeyes_verl.expert.build import Make, attempt
from medeyes_verl.expert.oracles.protocol import OracleDownError
from medeyes_verl.expert.question import Question
from medeyes_verl.expert.sampler import Sampled
from medeyes_verl.expert.store import StoreWriter
from medeyes_verl.expert.trajectory import Trajectory

PAUSE_SECONDS = 60.0
"""So long an oracle that is down is left alone."""


class LiveExperts:
    """One a process (and event loop); several processes may share the store."""

    def __init__(self, make: Make, store: Path, time_limit: float) -> None:
        """`make` samples one question; `time_limit` is in seconds, for what a session waits."""
        self.counts: Counter[str] = Counter()
        """Questions by outcome: "made", "late", "failed", "down"."""
        self._make, self._time_limit = make, time_limit
        self._writer = StoreWriter(store)
        self._under_way: dict[str, asyncio.Task[list[Trajectory]]] = {}
        self._down_until = 0.0

    async def get(self, question: Question) -> list[Trajectory]:
        """The question's trajectories, made now; [] where that fails or takes too long."""
        task = self._under_way.get(question.expert_id)
        if task is None:
            if time.monotonic() < self._down_until:
                self.counts["down"] += 1
                return []
            task = asyncio.create_task(self._made(question))
            self._under_way[question.expert_id] = task
            task.add_done_callback(lambda _: self._under_way.pop(question.expert_id, None))
        try:
            return await asyncio.wait_for(asyncio.shield(task), self._time_limit)
        except (TimeoutError, asyncio.TimeoutError):
            self.counts["late"] += 1
            return []

    async def finish(self) -> None:
        """Wait for the walks under way, and make everything durable."""
        await asyncio.gather(*self._under_way.values())
        self._writer.commit()

    async def _made(self, question: Question) -> list[Trajectory]:
        outcome = await attempt(question, self._make)
        if isinstance(outcome, Sampled):
            self._writer.add(question.expert_id, outcome.trajectories, outcome.record)
            self._writer.commit()
            self.counts["made"] += 1
            return list(outcome.trajectories)
        if isinstance(outcome, OracleDownError):
            self._down_until = time.monotonic() + PAUSE_SECONDS
        self.counts["failed"] += 1
        return []
