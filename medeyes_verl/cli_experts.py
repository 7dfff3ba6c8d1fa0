"""`medeyes-verl experts …`: make trajectories, look at them, join and check stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from medeyes_verl.expert.manifest import read_manifest
from medeyes_verl.expert.scripted import ScriptSettings, write_scripted_experts
from medeyes_verl.expert.store import StoreError, TrajectoryStore
from medeyes_verl.expert.upkeep import StoreReport, check_store, merge_stores, repair_store

experts = typer.Typer(no_args_is_help=True, help="Make, inspect, join and check expert trajectories.")
console = Console()

Rows = Annotated[Path, typer.Option("--data", exists=True, dir_okay=False, help="a training parquet file")]
Store = Annotated[Path, typer.Option("--store", help="the folder of the trajectory store")]
StoreArgument = Annotated[Path, typer.Argument(help="the folder of the trajectory store")]
Wanted = Annotated[int, typer.Option("--n", min=1, help="trajectories a question")]
Seed = Annotated[int, typer.Option("--seed", help="the same seed gives the same trajectories")]


@experts.command()
def script(
    data: Rows,
    store: Store,
    n: Wanted = 6,
    seed: Seed = 0,
    whole_picture_share: Annotated[
        float, typer.Option(min=0, max=1, help="share of trajectories that first scan the whole picture")
    ] = ScriptSettings().whole_picture_share,
) -> None:
    """Write scripted experts: over marked candidates (phantom), else a sweep. Resumes where it was stopped."""
    settings = ScriptSettings(whole_picture_share=whole_picture_share)
    with clear_errors(), progress_bar("experts", pq.read_metadata(data).num_rows) as advance:
        counts = write_scripted_experts(data, store, n, seed, settings, advance)
    console.print(
        f"{store}: {counts.trajectories} trajectories for {counts.questions} questions written, "
        f"{counts.known} questions were there already, {counts.shortfall} trajectories short (no more variety)"
    )


@experts.command()
def validate(
    store: StoreArgument,
    repair: Annotated[bool, typer.Option(help="keep what reads well, set damaged files aside")] = False,
) -> None:
    """Check every entry of a store; exit code 1 when something is damaged."""
    with clear_errors():
        with progress_bar("segments", len(read_manifest(store))) as advance:
            report = check_store(store, advance)
        print_report(store, report)
        if report.damage and repair:
            console.print(f"repaired: {repair_store(store)} entries lost; a build into this store makes them again")
        elif report.damage:
            raise typer.Exit(1)


@experts.command()
def merge(
    target: Annotated[Path, typer.Argument(help="the store to add to; made where there is none")],
    sources: Annotated[list[Path], typer.Argument(help="stores to take from; the first one wins")],
) -> None:
    """Join stores. A question that the target has already is kept as it is, and counted."""
    with clear_errors():
        total = sum(len(TrajectoryStore(source)) for source in sources)
        with progress_bar("entries", total) as advance:
            added, skipped = merge_stores(target, sources, advance)
    console.print(f"{target}: {added} questions added, {skipped} were there already")


def print_report(store: Path, report: StoreReport) -> None:
    """What a store holds, a line each."""
    console.print(
        f"{store}: {report.trajectories} trajectories for {report.questions} questions "
        f"({report.empty} questions without one, {report.wrong} trajectories labelled wrong, "
        f"{report.shortfall} short of what was asked)",
        highlight=False,
    )
    console.print("by source: " + ", ".join(f"{name} {count}" for name, count in sorted(report.sources.items())))
    console.print("by gazes: " + ", ".join(f"{gazes}: {count}" for gazes, count in sorted(report.lengths.items())))
    for line in report.damage:
        console.print(f"[bold red]damaged:[/] {line}", highlight=False)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn the errors a user can mend into one line and exit code 1."""
    try:
        yield
    except (StoreError, ValueError, FileNotFoundError) as error:
        console.print(f"[bold red]error:[/] {error}", highlight=False)
        raise typer.Exit(1) from error


@contextmanager
def progress_bar(name: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar of `total` steps; yields the function that takes one."""
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(name, total=total)
        yield lambda: bar.advance(task)
