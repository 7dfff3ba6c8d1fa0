"""Follow a training run: from main_ppo's output as it comes, or from the log of metrics in the run's folder.

One line when a stage is reached, one a step, and errors. What is read is veRL's own: the console's line of metrics,
and the file logger's JSON lines ({"step": …, "data": {…}}).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TextIO

from omegaconf import OmegaConf

from medeyes_verl.evaluation.run_folder import recipe_file
from medeyes_verl.evaluation.run_logs import metrics_logs

# what veRL's output says once a stage is reached -> what to tell a person
STAGES = {
    "ray init kwargs": "Ray is starting",
    "actor and ref model engine initialized": "the policy is loaded",
    "reward loop manager initialized": "the reward workers are up; vLLM is starting",
    "all initialize finished": "vLLM is up",
    "Initial validation metrics": "validated before training",
}
SHOWN = {
    "accuracy": r"medeyes/on_policy/r_acc",
    "reward": r"medeyes/on_policy/reward",
    "expert reward": r"medeyes/expert/reward",
    "gazes": r"medeyes/on_policy/gazes",
    "validation accuracy": r"val-core/[^/]+/acc/mean@\d+",
}
"""What a person follows a run by -> the metric, as a pattern."""
SECONDS = "timing_s/step"
STEP = re.compile(r"\bstep:(\d+) - (.*)")
METRIC = re.compile(r"(\S+?):(?:np\.\w+\()?([-+]?(?:\d[\d.]*(?:[eE][-+]?\d+)?|nan|inf))")
TOTAL = re.compile(r"Total training steps: (\d+)|Training Progress:.*?\| *\d+/(\d+)")
ERROR = re.compile(r"^(?:\x1b\[\d+m\([^)]*\)\x1b\[0m )?(\w*(?:Error|Exception)\b.*)")
POLL_S = 1.0
QUIET_STEPS = 10
"""After as many steps' time without a new one, a follower says that the run may have ended."""
QUIET_S = 300.0
"""The shortest such time: the first step waits for libraries and vLLM."""


class Progress:
    """What is known of a run so far, told line by line.

    Args:
        tell: prints one line.
        total: steps of the run; None until its output says so.
    """

    def __init__(self, tell: Callable[[str], None], total: int | None = None) -> None:
        self.total = total
        self.step: int | None = None
        self.seconds_a_step: float | None = None
        self._tell = tell
        self._started = time.monotonic()
        self._timed = 0
        self._said: set[str] = set()

    def output(self, line: str) -> None:
        """Take one line of main_ppo's output."""
        for said, stage in STAGES.items():
            if said in line and stage not in self._said:
                self._said.add(stage)
                self.say(stage)
        if total := TOTAL.search(line):
            self.total = int(total[1] or total[2])
        if step := STEP.search(line):
            self.metrics(int(step[1]), {name: float(value) for name, value in METRIC.findall(step[2])})
        elif error := ERROR.match(line):
            self.say(error[1].strip())

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the metrics of one step."""
        self.step = step
        of = "" if self.total is None else f"/{self.total}"
        parts = [f"step {step:>{len(of) - 1 if of else 3}}{of}"]
        for name, pattern in SHOWN.items():
            value = next((metrics[key] for key in metrics if re.fullmatch(pattern, key)), None)
            if value is not None:
                parts.append(f"{name} {value:.3g}")
        if (seconds := metrics.get(SECONDS)) is not None:
            self._timed += 1
            mean = self.seconds_a_step or 0.0
            self.seconds_a_step = mean + (seconds - mean) / self._timed
            parts.append(f"{seconds:.1f} s")
            if self.total is not None and step < self.total:
                parts.append(f"about {clock(self.seconds_a_step * (self.total - step))} left")
        self.say("  ".join(parts))

    def say(self, message: str) -> None:
        """Tell a line with the time since the start."""
        self._tell(f"[{clock(time.monotonic() - self._started)}] {message}")

    @property
    def finished(self) -> bool:
        """Whether the last step was logged."""
        return self.step is not None and self.total is not None and self.step >= self.total


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any: 1:05, 2:03:04."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:2d}:{rest:02d}".strip()


def follow_output(lines: Iterable[str], progress: Progress, kept: TextIO | None) -> None:
    """Follow main_ppo's output; every line goes to `kept` as well."""
    for line in lines:
        if kept is not None:
            kept.write(line)
            kept.flush()
        progress.output(line)


def follow_run(run: Path, progress: Progress, sleep: Callable[[float], None] = time.sleep) -> None:
    """Tell the steps in the run's newest log of metrics, then each new one, until the last.

    A run that is resumed begins another log, which is followed from then on. Where the run's configuration names no
    number of steps the last one is unknown: end with Ctrl-C.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not run.is_dir():
        raise FileNotFoundError(f"{run}: there is no such folder; name the output folder of a run (medeyes.output)")
    if progress.total is None:
        progress.total = _total_steps(run)
    log: Path | None = None
    read, quiet, warned = 0, 0.0, False
    while not progress.finished:
        newest = max(metrics_logs(run), key=lambda path: path.stat().st_mtime, default=None)
        if newest is not None and newest != log:
            log, read = newest, 0
            progress.say(f"following {log}")
        fresh = _complete_lines(log, read) if log is not None else b""
        for line in fresh.splitlines():
            entry = json.loads(line)
            numbers = {name: value for name, value in entry["data"].items() if isinstance(value, int | float)}
            progress.metrics(entry["step"], numbers)
        read, quiet, warned = (read + len(fresh), 0.0, False) if fresh else (read, quiet + POLL_S, warned)
        if not warned and quiet > max(QUIET_S, QUIET_STEPS * (progress.seconds_a_step or 0.0)):
            warned = True
            where = "no log of metrics yet" if log is None else "no new step"
            progress.say(f"{where} for {clock(quiet)}: the run may have ended; see its own output")
        if not fresh:
            sleep(POLL_S)


def _complete_lines(log: Path, start: int) -> bytes:
    """What was added from byte `start` on, without a last line that is still being written."""
    with log.open("rb") as file:
        file.seek(start)
        content = file.read()
    return content[: content.rfind(b"\n") + 1]


def _total_steps(run: Path) -> int | None:
    config = recipe_file(run)
    if config is None:
        return None
    total = OmegaConf.select(OmegaConf.load(config), "trainer.total_training_steps", throw_on_missing=False)
    return total if isinstance(total, int) else None
