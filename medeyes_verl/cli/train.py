"""`medeyes-verl tiny-policy` and `watch`: a policy to train from where none can be downloaded, and a run's progress."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from medeyes_verl.tiny.build import Report
    from medeyes_verl.tiny.warmup import Progress as WarmupProgress

console = Console()


def tiny_policy(
    data: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="training parquet file")],
    experts: Annotated[Path, typer.Option(exists=True, file_okay=False, help="trajectory store of its questions")],
    output: Annotated[Path, typer.Option(help="folder of the policy")],
    val: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="parquet file to evaluate on at the end")
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="time limit of the warm-up")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="step limit of the warm-up")] = None,
    wrong_answers: Annotated[
        bool, typer.Option("--wrong-answers", help="also learn trajectories that end in an incorrect answer")
    ] = False,
    going_on: Annotated[
        float | None, typer.Option(min=0, max=1, help="weight of learning that one looks again, not only where")
    ] = None,
    gives_up: Annotated[
        float | None, typer.Option(min=0, max=0.9, help="share learned as the answer `unknown` without a gaze")
    ] = None,
    gazing: Annotated[
        float | None, typer.Option(min=0, max=1, help="weight of learning that one gazes at all, not only where")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the warm-up")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="threads of torch; 0: one a core")] = 0,
) -> None:
    """Make a tiny Qwen2.5-VL that has learned a little from experts: no download, minutes on two cores.

    The result is a plain Hugging Face folder, for main_ppo's actor_rollout_ref.model.path.
    """
    import torch

    from medeyes_verl.tiny.build import PolicySettings, make_policy
    from medeyes_verl.tiny.warmup import WarmupSettings

    torch.set_num_threads(threads or os.cpu_count() or 1)
    given = {
        "minutes": minutes,
        "max_steps": steps,
        "going_on": going_on,
        "gives_up": gives_up,
        "gazing": gazing,
    }
    warmup = WarmupSettings(
        seed=seed,
        wrong_answers=wrong_answers,
        **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
    )
    columns = (TextColumn("{task.description:50}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=1.0)

        def on_step(progress: WarmupProgress) -> None:
            text = f"warm-up: step {progress.steps}, loss {progress.loss:.3f}"
            bar.update(task, completed=progress.share, description=text)

        def on_stage(stage: str) -> None:
            bar.update(task, description=stage)

        try:
            report = make_policy(data, experts, output, PolicySettings(warmup=warmup), val, on_step, on_stage)
        except (ValueError, FileExistsError) as error:
            console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
            raise typer.Exit(1) from error
    _print_report(output, report)


def watch(
    run: Annotated[Path, typer.Argument(help="a run's folder, or - for main_ppo's output on standard input")],
    log: Annotated[Path | None, typer.Option(help="with -: a file that keeps the whole output")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="of the run; default: what it says itself")] = None,
) -> None:
    """Follow a training run: a line a step with its accuracy and the time left.

    In another terminal: medeyes-verl watch OUT. In the same: python -m verl.trainer.main_ppo … 2>&1 | medeyes-verl
    watch - --log training.log
    """
    from medeyes_verl.evaluation.watch import Progress as RunProgress
    from medeyes_verl.evaluation.watch import follow_output, follow_run

    progress = RunProgress(lambda line: print(line, flush=True), steps)
    if str(run) == "-":
        with nullcontext() if log is None else log.open("w", encoding="utf-8") as kept:
            follow_output(sys.stdin, progress, kept)
        return
    if log is not None:
        raise typer.BadParameter("--log keeps standard input: it needs - in place of a folder")
    try:
        follow_run(run, progress)
    except FileNotFoundError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def add_commands(app: typer.Typer) -> None:
    """Give a command line the two commands."""
    app.command()(tiny_policy)
    app.command()(watch)


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
            table.add_row(f"evaluated: {name.replace('_', ' ')}", "-" if value is None else f"{value:.2f}")
    console.print(table)
