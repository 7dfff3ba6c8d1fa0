"""Live experts: shared between sessions, in time or not at all, stored either way."""

from __future__ import annotations

import asyncio
from pathlib import Path

from medeyes_verl.expert.live import LiveExperts
from medeyes_verl.expert.oracles.protocol import OracleDownError, OracleError
from medeyes_verl.expert.question import Question
from medeyes_verl.expert.sampler import Sampled
from medeyes_verl.expert.store import TrajectoryStore
from medeyes_verl.expert.trajectory import ExpertStep, Trajectory
from medeyes_verl.gaze.geometry import Box, Size


def question(folder: Path, name: str = "q") -> Question:
    (folder / "p.png").touch()
    return Question(name, "?", "open", "ring", (), (str(folder / "p.png"),), (Size(100, 100),))


class Maker:
    """Takes its time, or fails as told."""

    def __init__(self, delay: float = 0.0, error: Exception | None = None) -> None:
        self.delay, self.error, self.calls = delay, error, 0

    async def __call__(self, question: Question) -> Sampled:
        self.calls += 1
        await asyncio.sleep(self.delay)
        if self.error:
            raise self.error
        made = Trajectory(question.expert_id, (ExpertStep("scan", Box(0, 0, 9, 9)),), "seen", "ring", True, "grn_cvs")
        return Sampled((made,), {"shortfall": 5, "rejected": {}})


def test_sessions_of_a_prompt_share_one_walk(tmp_path: Path) -> None:
    async def run() -> None:
        maker = Maker(0.02)
        live = LiveExperts(maker, tmp_path / "s", time_limit=5)
        asked = question(tmp_path)
        found = await asyncio.gather(*(live.get(asked) for _ in range(6)))
        assert (maker.calls, [len(each) for each in found]) == (1, [1] * 6)
        assert live.counts == {"made": 1}
        assert TrajectoryStore(tmp_path / "s").get("q") == found[0]

    asyncio.run(run())


def test_what_comes_too_late_falls_back_and_is_there_the_next_time(tmp_path: Path) -> None:
    async def run() -> None:
        live = LiveExperts(Maker(0.1), tmp_path / "s", time_limit=0.01)
        assert await live.get(question(tmp_path)) == []
        assert live.counts == {"late": 1}
        await live.finish()
        assert len(TrajectoryStore(tmp_path / "s").get("q")) == 1

    asyncio.run(run())


def test_a_failure_is_counted_and_tried_again(tmp_path: Path) -> None:
    async def run() -> None:
        maker = Maker(error=OracleError("unreadable"))
        live = LiveExperts(maker, tmp_path / "s", time_limit=5)
        assert await live.get(question(tmp_path)) == []
        assert await live.get(question(tmp_path)) == []
        assert (maker.calls, live.counts["failed"]) == (2, 2)
        assert "q" not in TrajectoryStore(tmp_path / "s")

    asyncio.run(run())


def test_an_oracle_that_is_down_is_left_alone(tmp_path: Path) -> None:
    async def run() -> None:
        maker = Maker(error=OracleDownError("gone"))
        live = LiveExperts(maker, tmp_path / "s", time_limit=5)
        assert await live.get(question(tmp_path)) == []
        assert await live.get(question(tmp_path, "other")) == []
        assert (maker.calls, live.counts) == (1, {"failed": 1, "down": 1})

    asyncio.run(run())
