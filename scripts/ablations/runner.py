"""Runs of the table: each a main_ppo process of its own, kept once it is done.

One after the other: two with a Ray of their own have the same Ray job number, and from that alone veRL 0.9.1 makes the
name of the socket in /tmp through which weights go to vLLM (vllm_rollout.py:141); on one machine both wait for ever.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ablations import benchmark
from ablations.results import Result, from_logs, read_result, read_results, write_result
from ablations.rows import OPTIMISER, ROWS, SETTINGS, Row
from medeyes_verl.cpu_variables import PLATFORM, QUIET

LIMIT_SECONDS = 3 * 3600
"""A failing weight update leaves its sender waiting for ever."""
LAST_LINES = 25
STEPS = 20
"""Of a run, unless told otherwise."""


class RunFailedError(RuntimeError):
    """A run ended without its result; the message names its log and shows its end."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What all runs share."""

    data: Path
    """The benchmark's folder."""
    output: Path
    """Folders of the runs."""
    results: Path
    """Where the result of each run is kept."""
    steps: int = STEPS
    validate_every: int = 10
    learning_rate: float = 3e-4


def run_all(plan: Plan, runs: Sequence[tuple[Row, int]], on_end: Callable[[Result], None]) -> list[str]:
    """Run what has no result yet; returns what went wrong, a line each.

    Raises ValueError where a kept result comes from another policy than the benchmark's, or has another length.
    """
    mark = benchmark.policy_mark(plan.data)
    for kept in chain(*read_results(plan.results, ROWS).values()):
        if kept.policy != mark:
            raise ValueError(
                f"{plan.results}: the result of {kept.row}, seed {kept.seed}, comes from policy {kept.policy}, while "
                f"{benchmark.policy(plan.data)} is {mark}: choose another folder with --results, or empty this one"
            )
        if kept.steps not in (0, plan.steps):
            raise ValueError(
                f"{plan.results}: {kept.row}, seed {kept.seed}, ran for {kept.steps} steps, not {plan.steps}: choose "
                f"another folder with --results, or --steps {kept.steps}"
            )
    todo = [(row, seed) for row, seed in runs if read_result(plan.results, row.name, seed) is None]
    todo.sort(key=lambda each: each[1])  # every row once, before any is repeated
    failed = []
    for row, seed in todo:
        try:
            on_end(run(plan, row, seed))
        except RunFailedError as error:
            failed.append(str(error))
    return failed


def run(plan: Plan, row: Row, seed: int) -> Result:
    """One run from its start: an unfinished one of before is begun again, since its clock would be wrong."""
    folder = plan.output / f"{row.name}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    started = time.monotonic()
    for last_step, overrides in row.phases(plan.steps):
        metrics = folder / f"metrics-{last_step:05d}.jsonl"
        _main_ppo(folder, metrics, command(plan, row, seed, folder, last_step, overrides))
    seconds, logs = time.monotonic() - started, sorted(folder.glob("metrics-*.jsonl"))
    validations = (folder / "logs").glob("validation-*.jsonl")
    result = from_logs(row, seed, benchmark.policy_mark(plan.data), seconds, logs, validations)
    write_result(plan.results, result)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return result


def command(plan: Plan, row: Row, seed: int, folder: Path, last_step: int, overrides: Iterable[str]) -> list[str]:
    """main_ppo's command line up to `last_step`."""
    questions = benchmark.questions(plan.data)
    checkpoints = last_step if last_step < plan.steps else -1
    return [
        *(sys.executable, "-m", "verl.trainer.main_ppo", "+medeyes=cpu_tiny"),
        f"medeyes.data={questions}",
        f"medeyes.model={benchmark.policy(plan.data)}",
        f"medeyes.output={folder}",
        f"{SETTINGS}.experts={questions / row.experts}",
        f"{OPTIMISER}.lr={plan.learning_rate}",
        *(f"data.seed={seed}", f"actor_rollout_ref.rollout.seed={seed}"),
        f"actor_rollout_ref.actor.data_loader_seed={seed}",
        f"trainer.total_training_steps={last_step}",
        *(f"trainer.test_freq={plan.validate_every}", "trainer.val_before_train=false"),
        f"trainer.save_freq={checkpoints}",
        f"hydra.run.dir={folder / 'hydra'}",
        *overrides,
    ]


def _main_ppo(folder: Path, metrics: Path, words: list[str]) -> None:
    environment = {
        **os.environ,
        **PLATFORM,
        **QUIET,
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VERL_FILE_LOGGER_PATH": str(metrics),
    }
    log = folder / "run.log"
    with log.open("a", encoding="utf-8") as output:
        try:
            done = subprocess.run(
                words, cwd=folder, env=environment, stdout=output, stderr=output, timeout=LIMIT_SECONDS, check=False
            )
            said = f"ended with {done.returncode}"
        except subprocess.TimeoutExpired:
            said, done = f"did not end within {LIMIT_SECONDS} s", None
    if done is None or done.returncode:
        end = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:])
        raise RunFailedError(f"{folder.name}: main_ppo {said}; {log} ends with\n{end}")
