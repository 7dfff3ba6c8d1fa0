"""A build: resumed without doubling, failures counted and left open, stopped when nothing makes sense any more."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from medeyes_verl.expert.build import FAILURES_IN_A_ROW, BuildCounts, build
from medeyes_verl.expert.oracles.protocol import OracleDownError, OracleError
from medeyes_verl.expert.question import Question
from medeyes_verl.expert.sampler import Sampled
from medeyes_verl.expert.store import FILE, StoreWriter, TrajectoryStore
from medeyes_verl.expert.trajectory import ExpertStep, Trajectory
from medeyes_verl.expert.upkeep import check_store
from medeyes_verl.gaze.geometry import Box, Size


def questions(folder: Path, count: int) -> list[Question]:
    (folder / "p.png").touch()
    return [
        Question(f"q{number}", "?", "open", "ring", (), (str(folder / "p.png"),), (Size(100, 100),))
        for number in range(count)
    ]


async def make(question: Question) -> Sampled:
    await asyncio.sleep(0.001)
    steps = (ExpertStep("scan", Box(0, 0, 50, 50)),)
    right = Trajectory(question.expert_id, steps, "seen", "ring", True, "grn_cvs")
    wrong = Trajectory(question.expert_id, steps, "seen", "bar", False, "grn_cvs")
    return Sampled((right, wrong), {"shortfall": 4, "rejected": {"duplicate": 1}})


def run(asked: list[Question], store: Path, maker: Callable = make, concurrency: int = 4) -> BuildCounts:  # type: ignore[type-arg]
    with StoreWriter(store, commit_entries=5) as writer:
        return asyncio.run(build(asked, maker, writer, concurrency))


def test_counts(tmp_path: Path) -> None:
    counts = run(questions(tmp_path, 10), tmp_path / "s")
    assert (counts.questions, counts.trajectories, counts.wrong, counts.shortfall) == (10, 20, 10, 40)
    assert counts.rejected == {"duplicate": 10}
    assert len(TrajectoryStore(tmp_path / "s")) == 10


def test_questions_run_at_once(tmp_path: Path) -> None:
    running, most = 0, 0

    async def watched(question: Question) -> Sampled:
        nonlocal running, most
        running += 1
        most = max(most, running)
        made = await make(question)
        running -= 1
        return made

    run(questions(tmp_path, 20), tmp_path / "s", watched, concurrency=8)
    assert most == 8


def test_a_failed_question_is_named_and_taken_up_again(tmp_path: Path) -> None:
    async def sometimes(question: Question) -> Sampled:
        if question.expert_id in ("q1", "q2"):
            raise OracleError("no boxes in its answer")
        return await make(question)

    asked = questions(tmp_path, 4)
    counts = run(asked, tmp_path / "s", sometimes)
    assert counts.failed == {"q1": "no boxes in its answer", "q2": "no boxes in its answer"}
    assert counts.stopped is None
    again = run(asked, tmp_path / "s")
    assert (again.questions, again.known) == (2, 2)


def test_a_picture_that_is_gone_is_a_named_failure(tmp_path: Path) -> None:
    asked = [*questions(tmp_path, 1), Question("lost", "?", "open", "x", (), ("/nowhere.png",), (Size(9, 9),))]
    assert run(asked, tmp_path / "s").failed == {"lost": "its picture is gone: /nowhere.png"}


def test_an_oracle_that_is_down_stops_the_build_and_keeps_what_was_made(tmp_path: Path) -> None:
    async def until_three(question: Question) -> Sampled:
        if question.expert_id == "q3":
            raise OracleDownError("budget of 9 requests spent")
        return await make(question)

    counts = run(questions(tmp_path, 100), tmp_path / "s", until_three, concurrency=1)
    assert counts.stopped == "budget of 9 requests spent"
    assert sorted(TrajectoryStore(tmp_path / "s").ids()) == ["q0", "q1", "q2"]


def test_failures_in_a_row_stop_the_build(tmp_path: Path) -> None:
    async def never(question: Question) -> Sampled:
        raise OracleError("refused")

    counts = run(questions(tmp_path, 100), tmp_path / "s", never, concurrency=1)
    assert len(counts.failed) == FAILURES_IN_A_ROW
    assert counts.stopped is not None
    assert "refused" in counts.stopped


def test_a_bug_is_not_swallowed(tmp_path: Path) -> None:
    async def buggy(question: Question) -> Sampled:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(questions(tmp_path, 1), tmp_path / "s", buggy)


def test_kill_9_in_the_middle_loses_and_doubles_nothing(tmp_path: Path) -> None:
    asked, store = questions(tmp_path, 120), tmp_path / "s"
    fork = multiprocessing.get_context("fork")
    rounds = 0
    while True:
        before = len(TrajectoryStore(store)) if (store / FILE).exists() else 0
        if before == len(asked):
            break
        victim = fork.Process(target=run, args=(asked, store))
        victim.start()
        deadline = time.monotonic() + 20
        while victim.is_alive() and time.monotonic() < deadline:
            if (store / FILE).exists() and len(TrajectoryStore(store)) >= before + 30:
                os.kill(victim.pid or 0, signal.SIGKILL)
                break
            time.sleep(0.002)
        victim.join()
        rounds += 1
        assert len(TrajectoryStore(store)) >= before
    assert rounds >= 2
    report = check_store(store)
    assert (report.questions, report.trajectories, report.damage) == (120, 240, [])
