"""Show a main_ppo run's progress from its output: ``main_ppo … 2>&1 | python scripts/follow_run.py LOG``.

Everything goes to LOG; the terminal gets a line when something a person waits for has happened, and errors.
"""

import re
import sys
import time
from pathlib import Path
from typing import Annotated, TextIO

import typer

# what veRL's output says once a stage is reached -> what to tell a person
STAGES = {
    "ray init kwargs": "Ray is starting",
    "actor and ref model engine initialized": "the policy is loaded",
    "reward loop manager initialized": "the reward workers are up; vLLM is starting",
    "all initialize finished": "vLLM is up",
    "Initial validation metrics": "validated before training",
}
STEP = re.compile(r"\bstep:(\d+) - (.*)")
FIGURES = {
    "reward": r"medeyes/on_policy/reward:",
    "accuracy": r"medeyes/on_policy/r_acc:",
    "gazes": r"medeyes/on_policy/gazes:",
    "expert reward": r"medeyes/expert/reward:",
    "validation accuracy": r"val-core/[^/]+/acc/mean@\d+:",
    "seconds": r"timing_s/step:",
}
NUMBER = r"(?:np\.\w+\()?([-+.\deE]+)"
ERRORS = re.compile(r"^(?:\x1b\[\d+m\([^)]*\)\x1b\[0m )?(\w*(?:Error|Exception)\b.*)")


def main(log: Annotated[Path, typer.Argument(help="file that keeps the whole output")]) -> None:
    """Follow a run on standard input."""
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as kept:
        follow(sys.stdin, kept, started)


def follow(lines: TextIO, kept: TextIO, started: float) -> None:
    """Copy `lines` to `kept` and print what is worth a person's attention."""
    told: set[str] = set()
    for line in lines:
        kept.write(line)
        kept.flush()
        for said, stage in STAGES.items():
            if said in line and stage not in told:
                told.add(stage)
                tell(started, stage)
        if step := STEP.search(line):
            tell(started, f"step {step[1]:>3}  " + "  ".join(figures(step[2])))
        elif error := ERRORS.match(line):
            tell(started, error[1].strip())


def figures(metrics: str) -> list[str]:
    """The few figures of a console line of metrics that a person follows a run by."""
    found = ((name, re.search(pattern + NUMBER, metrics)) for name, pattern in FIGURES.items())
    return [f"{name} {float(match[1]):.3g}" for name, match in found if match]


def tell(started: float, message: str) -> None:
    """One line with the time since the start."""
    minutes, seconds = divmod(int(time.monotonic() - started), 60)
    print(f"[{minutes:2d}:{seconds:02d}] {message}", flush=True)


if __name__ == "__main__":
    typer.run(main)
