"""Print what a training run achieved, from its JSON-lines logs: ``python scripts/summarise_run.py OUTPUT``."""

from pathlib import Path
from typing import Annotated

import typer
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from medeyes_verl.evaluation.run_folder import recipe_file
from medeyes_verl.evaluation.training_summary import (
    engine_agreement,
    questions,
    read_steps,
    validation_kind,
    verdict,
)

ROWS = [
    ("reward", "val-aux/{source}/reward/mean@1"),
    ("accuracy", "val-core/{source}/acc/mean@1"),
    ("format-valid rate", "val-aux/{source}/r_grammar/mean@1"),
    ("gazes a trajectory", "val-aux/{source}/gazes/mean@1"),
]


def main(output: Annotated[Path, typer.Argument(help="the run's output directory, with logs/metrics-*.jsonl")]) -> None:
    """Print validation before and after training, step time, the experts' stream, and what the change is worth."""
    console = Console(soft_wrap=True, highlight=False)
    steps = read_steps(output)
    validations = [step for step in sorted(steps) if any(key.startswith("val-core/") for key in steps[step])]
    if len(validations) < 2:
        raise typer.BadParameter(f"{output}/logs holds no validation before and after training")
    first, last = steps[validations[0]], steps[validations[-1]]
    source = next(key for key in first if key.startswith("val-core/")).split("/")[1]
    for title, template in ROWS:
        assert template.format(source=source) in first, f"the log lacks {template} for {title}"

    file = recipe_file(output)
    if file is None:
        raise typer.BadParameter(f"{output} holds no .hydra/config.yaml, so how it validated is not known")
    config = OmegaConf.load(file)
    assert isinstance(config, DictConfig)
    table = Table(
        "",
        f"before (step {validations[0]})",
        f"after (step {validations[-1]})",
        title=f"{source}, {validation_kind(config)}",
    )
    for title, template in ROWS:
        key = template.format(source=source)
        table.add_row(title, f"{first[key]:.3f}", f"{last[key]:.3f}")
    console.print(table)

    training = [steps[step] for step in sorted(steps) if "timing_s/step" in steps[step]]
    mean = lambda key: sum(row[key] for row in training if key in row) / max(1, sum(key in row for row in training))  # noqa: E731
    console.print(f"steps: {len(training)}, {mean('timing_s/step'):.1f} s each")
    console.print(engine_agreement([row["training/rollout_probs_diff_max"] for row in training]))
    if any("medeyes/expert/rows" in row for row in training):
        console.print(
            f"experts: {mean('medeyes/expert/rows'):.0f} rows a step, reward {mean('medeyes/expert/reward'):.2f}, "
            f"zero-advantage groups {mean('medeyes/expert/silent_groups'):.0%}"
        )
    console.print(f"logs: {output / 'logs'}   checkpoints: {output / 'checkpoints'}")
    accuracy = ROWS[1][1].format(source=source)
    console.print(*verdict(first[accuracy], last[accuracy], questions(config), validation_kind(config)), sep="\n")


if __name__ == "__main__":
    typer.run(main)
