"""`medeyes-verl evaluate` and `compare`: play a table's questions, write the figures, set two runs side by side."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from medeyes_verl.evaluation.episode_log import LoggedEpisode
    from medeyes_verl.evaluation.session import Outcome
    from medeyes_verl.evaluation.sources import Source

console = Console()
API_KEY = "MEDEYES_API_KEY"
QUICKSTART = "outputs/quickstart-phantom"
COLUMNS = (
    TextColumn("episodes"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
    TextColumn("{task.description}"),
)


def evaluate(
    source: Annotated[
        str, typer.Argument(help="a run, a model (folder or Hugging Face name), an endpoint (http://…/v1), a dump")
    ] = QUICKSTART,
    data: Annotated[
        list[Path] | None, typer.Option(exists=True, dir_okay=False, help="a table; may be given again")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="rules of the game: a recipe's name, or a run's .hydra/config.yaml")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="folder of the results; a started one is gone on with")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="samples a question")] = 1,
    temperature: Annotated[float | None, typer.Option(help="default: 0, greedy; 1 with --n above 1")] = None,
    top_p: Annotated[float, typer.Option(help="nucleus of the sampling")] = 1.0,
    seed: Annotated[int, typer.Option(help="of the sampling")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="only the first questions of each table")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=1024, help="episodes in flight at once")] = 64,
    model: Annotated[str | None, typer.Option(help="the model's name at the endpoint; default: its only one")] = None,
    processor: Annotated[
        str | None, typer.Option(help="for an endpoint: the policy's folder, for training's own token budget")
    ] = None,
    plain: Annotated[bool, typer.Option(help="for an endpoint: send only OpenAI's own fields")] = False,
    image_root: Annotated[Path | None, typer.Option(help="folder of relative picture paths")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="seconds to wait for one answer")] = 600.0,
) -> None:
    """Play a table's questions against a policy and write scores, tables, and a record of every episode.

    A model is served by a vLLM of its own, on this machine. An endpoint's key is read from MEDEYES_API_KEY.
    """
    from medeyes_verl.evaluation.run import read_tables
    from medeyes_verl.evaluation.session import Options, play, replay
    from medeyes_verl.evaluation.sources import find_source
    from medeyes_verl.evaluation.writers import Sampling

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # end as on Ctrl-C: the server ends, the log is kept
    with clear_errors():
        found = find_source(source, recipe, tuple(data or ()), output, processor)
        if image_root is not None:
            found = replace(found, recipe=replace(found.recipe, image_root=image_root))
        rows = read_tables(found.tables, limit)
        console.print(
            f"{found.kind} {escape(found.name)} by {escape(found.recipe.name)}: {len(rows)} questions of "
            + escape(", ".join(map(str, found.tables))),
            highlight=False,
        )
        if found.kind == "dump":
            _report(found, replay(found, rows))
            return
        drawn = (1.0 if n > 1 else 0.0) if temperature is None else temperature
        options = Options(
            sampling=Sampling(temperature=drawn, top_p=top_p, seed=seed),
            samples=n,
            concurrency=concurrency,
            timeout_s=timeout,
            model=model,
            processor=processor,
            plain=plain,
            api_key=os.environ.get(API_KEY),
        )
        with Progress(*COLUMNS, console=console) as bar:
            _report(found, play(found, rows, options, bar.console.print, partial(_begin, bar)))


def compare(
    first: Annotated[Path, typer.Argument(help="the folder of an evaluation, or its episodes.jsonl")],
    second: Annotated[Path, typer.Argument(help="the one to set against it")],
    output: Annotated[Path | None, typer.Option(help="a Markdown file to write the table to as well")] = None,
) -> None:
    """Is the second run better than the first? Paired bootstrap difference and McNemar's test, per benchmark."""
    from medeyes_verl.data.atomic import write_bytes
    from medeyes_verl.evaluation.compare import compare as compared
    from medeyes_verl.evaluation.compare import comparison_table
    from medeyes_verl.evaluation.episode_log import read_episodes
    from medeyes_verl.evaluation.run import EPISODES

    with clear_errors():
        logs = [path / EPISODES if path.is_dir() else path for path in (first, second)]
        text = comparison_table(compared(*(read_episodes(log) for log in logs)), str(first), str(second))
        if output is not None:
            write_bytes(output, text.encode())
    print(text)


def add_commands(app: typer.Typer) -> None:
    """Give a command line the two commands."""
    for command in (evaluate, compare):
        app.command()(command)


def _report(found: Source, outcome: Outcome) -> None:
    from medeyes_verl.evaluation.results import write_results
    from medeyes_verl.evaluation.tables import accuracy_cells

    title = f"Evaluation of {found.name}"
    summary = write_results(found.output, outcome.episodes, outcome.settings, outcome.facts, title)
    header, rows = accuracy_cells(summary)
    table = Table(*header)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    broken = sum(benchmark["overall"]["broken_off"] for benchmark in summary.values())
    if broken:
        console.print(f"[yellow]{broken} episodes, refused by the server, count as wrong[/]; run again to retry them")
    if outcome.facts.get("disagreeing_with_training"):
        count = outcome.facts["disagreeing_with_training"]
        console.print(f"[yellow]{count} episodes come out otherwise than training logged[/]")
    if outcome.facts.get("episodes_a_second"):
        console.print(f"{outcome.facts['episodes_a_second']} episodes a second", highlight=False)
    files = "results.md, results.json, results.csv, episodes.jsonl"
    console.print(f"{escape(str(found.output))}: {files}", highlight=False)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn the errors a user can mend into one line and exit code 1."""
    from medeyes_verl.evaluation.client import EndpointError

    try:
        yield
    except EndpointError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        console.print("What was played is kept: the same command goes on from there.")
        raise typer.Exit(1) from error
    except (ValueError, FileNotFoundError) as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        raise typer.Exit(1) from error


def _begin(bar: Progress, total: int, done: int) -> Callable[[LoggedEpisode], None]:
    """Show the bar; what is called with each episode as it ends."""
    task = bar.add_task("", total=total, completed=done)
    played, right = 0, 0.0

    def on_episode(episode: LoggedEpisode) -> None:
        nonlocal played, right
        played, right = played + 1, right + episode.scores.acc
        bar.update(task, advance=1, description=f"accuracy {right / played:.3f}")

    return on_episode
