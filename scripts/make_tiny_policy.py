"""Make a tiny Qwen2.5-VL that can play the gaze game a little: no download, a few minutes on two cores.

    python scripts/make_tiny_policy.py --data data/phantom/train.parquet --experts data/phantom/experts --output tiny

The result is a plain Hugging Face folder, for main_ppo's actor_rollout_ref.model.path.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from medeyes_verl.tiny.build import PolicySettings, Report, make_policy
from medeyes_verl.tiny.warmup import Progress as WarmupProgress
from medeyes_verl.tiny.warmup import WarmupSettings

console = Console()
DEFAULTS = WarmupSettings()


def main(
    data: Path = typer.Option(..., exists=True, dir_okay=False, help="Training parquet file."),
    experts: Path = typer.Option(..., exists=True, file_okay=False, help="Trajectory store of its questions."),
    output: Path = typer.Option(..., help="Folder of the policy."),
    val: Path = typer.Option(None, exists=True, dir_okay=False, help="Parquet file to play on at the end."),
    minutes: float = typer.Option(DEFAULTS.minutes, min=0.01, help="Time limit of the warm-up."),
    steps: int = typer.Option(DEFAULTS.max_steps, min=1, help="Step limit of the warm-up."),
    wrong_answers: bool = typer.Option(False, help="Also learn trajectories that end in a wrong answer."),
    going_on: float = typer.Option(
        DEFAULTS.going_on, min=0, max=1, help="Weight of learning that one looks again, not only where."
    ),
    seed: int = typer.Option(0, min=0),
    threads: int = typer.Option(0, min=0, help="Threads of torch; 0: one a core."),
) -> None:
    """Make a tiny policy, or find it made."""
    torch.set_num_threads(threads or os.cpu_count() or 1)
    warmup = WarmupSettings(minutes=minutes, max_steps=steps, seed=seed, wrong_answers=wrong_answers, going_on=going_on)
    settings = PolicySettings(warmup=warmup)
    columns = (TextColumn("{task.description:50}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=1.0)

        def on_step(progress: WarmupProgress) -> None:
            text = f"warm-up: step {progress.steps}, loss {progress.loss:.3f}"
            bar.update(task, completed=progress.share, description=text)

        try:
            report = make_policy(
                data, experts, output, settings, val, on_step, lambda stage: bar.update(task, description=stage)
            )
        except (ValueError, FileExistsError) as error:
            console.print(f"[red]{error}[/red]")
            raise typer.Exit(1) from error
    _print_report(output, report)


def _print_report(output: Path, report: Report) -> None:
    table = Table(title=f"{output}{' (made before from the same inputs)' if report.reused else ''}")
    table.add_column("")
    table.add_column("", justify="right")
    facts = {"parameters": report.parameters, "vocabulary": report.vocabulary, "steps": report.steps}
    for name, value in {**facts, "loss a token": report.loss, **report.counts}.items():
        table.add_row(name, str(value))
    if report.score:
        table.add_section()
        for name, value in report.score.items():
            table.add_row(f"played: {name.replace('_', ' ')}", "-" if value is None else f"{value:.2f}")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
