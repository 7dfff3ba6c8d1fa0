"""Print what a training run achieved, from its JSON-lines logs: ``python scripts/summarise_run.py OUTPUT``."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

ROWS = [
    ("reward", "val-aux/{source}/reward/mean@1"),
    ("accuracy", "val-core/{source}/acc/mean@1"),
    ("format-valid rate", "val-aux/{source}/r_grammar/mean@1"),
    ("gazes a trajectory", "val-aux/{source}/gazes/mean@1"),
]


def main(output: Annotated[Path, typer.Argument(help="the run's folder, with logs/metrics-*.jsonl")]) -> None:
    """Validation before and after, step time, and the experts' stream."""
    console = Console()
    steps = read_steps(output)
    validations = [step for step in sorted(steps) if any(key.startswith("val-core/") for key in steps[step])]
    if len(validations) < 2:
        raise typer.BadParameter(f"{output}/logs holds no validation before and after training")
    first, last = steps[validations[0]], steps[validations[-1]]
    source = next(key for key in first if key.startswith("val-core/")).split("/")[1]
    for title, template in ROWS:
        assert template.format(source=source) in first, f"the log lacks {template} for {title}"

    table = Table(
        "", f"before (step {validations[0]})", f"after (step {validations[-1]})", title=f"{source}, validation"
    )
    for title, template in ROWS:
        key = template.format(source=source)
        table.add_row(title, f"{first[key]:.3f}", f"{last[key]:.3f}")
    console.print(table)

    training = [steps[step] for step in sorted(steps) if "timing_s/step" in steps[step]]
    mean = lambda key: sum(row[key] for row in training if key in row) / max(1, sum(key in row for row in training))  # noqa: E731
    console.print(f"steps: {len(training)}, {mean('timing_s/step'):.1f} s each")
    console.print(
        f"policy and vLLM agree to {max(row['training/rollout_probs_diff_max'] for row in training):.1e} (probability)"
    )
    if any("medeyes/expert/rows" in row for row in training):
        console.print(
            f"experts: {mean('medeyes/expert/rows'):.0f} rows a step, reward {mean('medeyes/expert/reward'):.2f}, "
            f"silent groups {mean('medeyes/expert/silent_groups'):.0%}"
        )
    console.print(f"logs: {output / 'logs'}   checkpoints: {output / 'checkpoints'}")


def read_steps(output: Path) -> dict[int, dict[str, float]]:
    """Step -> its metrics; a resumed run's later log wins."""
    steps: dict[int, dict[str, float]] = {}
    for log in sorted((output / "logs").glob("metrics-*.jsonl")):
        for line in log.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            steps.setdefault(entry["step"], {}).update(entry["data"])
    return steps


if __name__ == "__main__":
    typer.run(main)
