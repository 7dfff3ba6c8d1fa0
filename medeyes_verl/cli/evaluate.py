"""`medeyes-verl evaluate` and `compare`: roll out a table's questions, write the scores, compare two runs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from medeyes_verl.cli.errors import clear_errors

if TYPE_CHECKING:
    from medeyes_verl.evaluation.episode_log import LoggedEpisode
    from medeyes_verl.evaluation.session import Outcome
    from medeyes_verl.evaluation.sources import Source
    from medeyes_verl.policies.chat import Sampling

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
        str,
        typer.Argument(
            help="a run, a model (folder or Hugging Face name), an endpoint (http://…/v1), a dump (.jsonl), "
            "or a policy of your own (FILE.py:NAME, docs/extend.md)"
        ),
    ] = QUICKSTART,
    data: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="a prepared table (.parquet); may be given again"),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="episode settings: a recipe's name, or a run's .hydra/config.yaml")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="output directory; resumes if it already holds a partial evaluation")
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="samples per question")] = 1,
    temperature: Annotated[
        float | None, typer.Option(help="sampling temperature; default: 0 (greedy), or 1 with --n above 1")
    ] = None,
    top_p: Annotated[float, typer.Option(help="sampling: probability mass of the nucleus")] = 1.0,
    seed: Annotated[int, typer.Option(help="seed of the sampling")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="only the first questions of each table")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=1024, help="episodes in flight at once")] = 64,
    model: Annotated[
        str | None, typer.Option(help="for an endpoint: the model's name; default: its only model")
    ] = None,
    processor: Annotated[
        str | None, typer.Option(help="for an endpoint: the policy's folder or name, to count tokens as training does")
    ] = None,
    plain: Annotated[bool, typer.Option(help="for an endpoint: send only OpenAI's own fields")] = False,
    policy_settings: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="YAML: keyword arguments of a policy of your own")
    ] = None,
    image_root: Annotated[Path | None, typer.Option(help="folder that relative image paths start from")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="seconds to wait for one response")] = 600.0,
) -> None:
    """Roll out a policy on a table's questions; write scores, tables, and a record of every episode.

    A model is served by a vLLM of its own, on this machine. An endpoint's key is read from MEDEYES_API_KEY.
    """
    from medeyes_verl.evaluation.run import read_tables
    from medeyes_verl.evaluation.session import Options, play, play_own, replay
    from medeyes_verl.evaluation.sources import find_source
    from medeyes_verl.http.destination import destination_of
    from medeyes_verl.import_path import read_arguments
    from medeyes_verl.policies.chat import Sampling

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # end as on Ctrl-C: the server ends, the log is kept
    with clear_errors(console, "Finished episodes are kept: run the same command again to resume."):
        found = find_source(source, recipe, tuple(data or ()), output, processor)
        if image_root is not None:
            found = replace(found, recipe=replace(found.recipe, image_root=image_root))
        rows = read_tables(found.tables, limit)
        drawn = (1.0 if n > 1 else 0.0) if temperature is None else temperature
        sampling = Sampling(temperature=drawn, top_p=top_p, seed=seed)
        if found.kind == "policy":
            given = {"--temperature": temperature is not None, "--top-p": top_p != 1.0, "--seed": seed != 0}
            given |= {"--model": model is not None, "--plain": plain, "--timeout": timeout != 600.0}
            if unread := [option for option, is_given in given.items() if is_given]:
                raise ValueError(f"{', '.join(unread)}: a policy of your own does not read it; use --policy-settings")
        elif policy_settings is not None:
            raise ValueError(f"--policy-settings is for a policy of your own (FILE.py:NAME), not for {source}")
        how = {"dump": "Dumped validation", "policy": "Evaluation"}.get(found.kind) or _named(sampling, n)
        kind = "your policy" if found.kind == "policy" else found.kind
        console.print(
            f"{how} of {kind} {escape(found.name)}, recipe {escape(found.recipe.name)}: {len(rows)} questions of "
            + escape(", ".join(map(str, found.tables))),
            highlight=False,
            soft_wrap=True,
        )
        if found.kind == "endpoint":
            where = destination_of(found.name).sentence().replace("The image ", "Each image ")
            console.print(where, highlight=False, markup=False, soft_wrap=True)
        if found.kind == "dump":
            _report(found, replay(found, rows), how)
            return
        options = Options(
            sampling=sampling,
            samples=n,
            concurrency=concurrency,
            timeout_s=timeout,
            model=model,
            processor=processor,
            plain=plain,
            api_key=os.environ.get(API_KEY),
            arguments={} if policy_settings is None else read_arguments(policy_settings),
        )
        run = play_own if found.kind == "policy" else play
        with Progress(*COLUMNS, console=console) as bar:
            _report(found, run(found, rows, options, bar.console.print, partial(_begin, bar)), how)


def compare(
    first: Annotated[Path, typer.Argument(help="output directory of an evaluation, or its episodes.jsonl")],
    second: Annotated[Path, typer.Argument(help="the evaluation to compare with it")],
    output: Annotated[Path | None, typer.Option(help="Markdown file to write the table to as well")] = None,
) -> None:
    """Compare two evaluations: paired difference with its interval, and McNemar's test, per benchmark."""
    from medeyes_verl.data.atomic import write_bytes
    from medeyes_verl.evaluation.compare import compare as compared
    from medeyes_verl.evaluation.compare import comparison_table
    from medeyes_verl.evaluation.run_folder import evaluated

    with clear_errors(console):
        text = comparison_table(compared(evaluated(first), evaluated(second)), str(first), str(second))
        if output is not None:
            write_bytes(output, text.encode())
    print(text)


def add_commands(app: typer.Typer) -> None:
    """Give a command line the two commands."""
    for command in (evaluate, compare):
        app.command()(command)


def _named(sampling: Sampling, samples: int) -> str:
    """What kind of evaluation it is, so that no sampled accuracy is compared with a greedy one unawares."""
    if sampling.temperature == 0:
        return "Greedy evaluation"
    return (
        f"Sampled evaluation (temperature {sampling.temperature:g}, top-p {sampling.top_p:g}, {samples} per question)"
    )


def _report(found: Source, outcome: Outcome, how: str) -> None:
    from medeyes_verl.evaluation.results import write_results
    from medeyes_verl.evaluation.tables import accuracy_cells

    title = f"{how} of {found.name}"
    summary = write_results(found.output, outcome.episodes, outcome.settings, outcome.facts, title)
    header, rows = accuracy_cells(summary)
    table = Table(*header, title=escape(title), title_justify="left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    broken = sum(benchmark["overall"]["broken_off"] for benchmark in summary.values())
    if broken:
        console.print(
            f"[yellow]{broken} episodes, refused by the server, count as incorrect[/]; run again to retry them"
        )
    if failed := [episode for episode in outcome.episodes if episode.scores.error is not None]:
        console.print(
            f"[yellow]{len(failed)} episodes could not be scored by reward.medeyes.parts[/], the first, question "
            + escape(f"{failed[0].id}: {failed[0].scores.error}"),
            highlight=False,
        )
    if outcome.facts.get("disagreeing_with_training"):
        count = outcome.facts["disagreeing_with_training"]
        console.print(f"[yellow]{count} episodes have another accuracy than training logged[/]")
    if outcome.facts.get("episodes_a_second"):
        console.print(f"{outcome.facts['episodes_a_second']} episodes a second", highlight=False)
    files = "results.md, results.json, results.csv, episodes.jsonl"
    console.print(f"{escape(str(found.output))}: {files}", highlight=False, soft_wrap=True)


def _begin(bar: Progress, total: int, done: int) -> Callable[[LoggedEpisode], None]:
    """Show the bar; what is called with each episode as it ends."""
    task = bar.add_task("", total=total, completed=done)
    played, right = 0, 0.0

    def on_episode(episode: LoggedEpisode) -> None:
        nonlocal played, right
        played, right = played + 1, right + episode.scores.acc
        bar.update(task, advance=1, description=f"accuracy {right / played:.3f}")

    return on_episode
