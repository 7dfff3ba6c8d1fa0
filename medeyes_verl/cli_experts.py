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

from medeyes_verl.expert.scripted import ScriptSettings, write_scripted_experts
from medeyes_verl.expert.store import StoreError

experts = typer.Typer(no_args_is_help=True, help="Make, inspect, join and check expert trajectories.")
console = Console()

Rows = Annotated[Path, typer.Option("--data", exists=True, dir_okay=False, help="a training parquet file")]
Store = Annotated[Path, typer.Option("--store", help="the folder of the trajectory store")]
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
