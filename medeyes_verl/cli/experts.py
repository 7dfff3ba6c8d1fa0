"""`medeyes-verl experts …`: make trajectories, look at them, join and check stores."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from medeyes_verl.cli.build_command import BuildCommand, build_settings
from medeyes_verl.cli.errors import clear_errors
from medeyes_verl.cli.experts_build import Plan, build_here, build_on_ray
from medeyes_verl.data.atomic import atomic_path
from medeyes_verl.expert.build import BuildCounts
from medeyes_verl.expert.build_settings import Engine
from medeyes_verl.expert.framing import PresetName
from medeyes_verl.expert.oracles.choice import OracleName
from medeyes_verl.expert.question import Question, read_questions
from medeyes_verl.expert.sampler import sampler_preset
from medeyes_verl.expert.script_words import ScriptStyle
from medeyes_verl.expert.scripted import ScriptSettings, script_preset, write_scripted_experts
from medeyes_verl.expert.store import StoreWriter, TrajectoryStore
from medeyes_verl.expert.trajectory import Trajectory
from medeyes_verl.expert.upkeep import StoreReport, any_store, check_store, merge_stores, repair_store
from medeyes_verl.import_path import is_import_path
from medeyes_verl.prompts.templates import check_folder
from medeyes_verl.report.terminal_image import in_terminal
from medeyes_verl.report.trajectory_image import image_with_gazes, trajectory_image

experts = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Make, inspect, join and check expert trajectories."
)
console = Console()
Settings = TypeVar("Settings")
ORACLES = ", ".join(get_args(OracleName))
ORACLE_KEY = ("oracle.name", "oracle.own.path")
"""The key of --oracle: of a name, of an import path."""
SHOWN = 20
"""Failures and annotations that are listed; the rest is counted."""

Rows = Annotated[Path, typer.Option("--data", exists=True, dir_okay=False, help="a training parquet file")]
Store = Annotated[Path, typer.Option("--store", help="the folder of the trajectory store")]
StoreArgument = Annotated[Path, typer.Argument(help="the folder of the trajectory store")]
Wanted = Annotated[int, typer.Option("--n", min=1, help="trajectories a question")]
Prompts = Annotated[
    Path | None, typer.Option("--prompts", help="folder of prompt templates of your own (docs/extend.md)")
]
Seed = Annotated[int, typer.Option("--seed", help="the same seed gives the same trajectories")]


@experts.command()
def script(
    data: Rows,
    store: Store,
    n: Wanted = 6,
    seed: Seed = 0,
    preset: Annotated[PresetName, typer.Option(help="paper: sentences; tiny: the quickstart's small policy")] = "paper",
    style: Annotated[ScriptStyle | None, typer.Option(help="reasoning text; replaces the preset's")] = None,
    max_gazes: Annotated[int | None, typer.Option(min=1, help="T_max")] = None,
    whole_picture_share: Annotated[
        float, typer.Option(min=0, max=1, help="share of trajectories over candidates that first scan the whole image")
    ] = ScriptSettings().whole_picture_share,
    prompts: Prompts = None,
) -> None:
    """Write scripted experts: over marked candidates (phantom), else a sweep. Resumes where it was stopped."""
    base = script_preset(preset)
    settings = _changed(
        base, style=style, max_gazes=max_gazes, whole_picture_share=whole_picture_share, prompts=_folder(prompts)
    )
    with clear_errors(console):
        check_folder(settings.prompts, "script.yaml", unused=settings.style == "terse")
    with clear_errors(console), progress_bar("experts", _rows_in(data)) as advance:
        counts = write_scripted_experts(data, store, n, seed, settings, advance)
    console.print(
        f"{store}: {counts.trajectories} trajectories for {counts.questions} questions written, "
        f"{counts.known} questions were there already, {counts.shortfall} trajectories short (no more variety)"
    )
    if counts.different:
        console.print(
            f"[yellow]warning:[/] {counts.different} of the questions that were there already were made with other "
            "settings and are kept as they are; to replace them, give a new --store"
        )


def _known_oracle(oracle: str | None) -> str | None:
    if oracle is not None and oracle not in get_args(OracleName) and not is_import_path(oracle):
        raise typer.BadParameter(f"{oracle!r} is none of {ORACLES}, nor PATH:NAME of your own (my_oracle.py:MyOracle)")
    return oracle


@experts.command(name="build", cls=BuildCommand)
def build_command(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="any key of docs/settings.md: sampler.nucleus=0.8"),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="YAML file with the keys of docs/settings.md")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="a training parquet file [key: data]")
    ] = None,
    store: Annotated[Path | None, typer.Option(help="folder of the trajectory store [key: store]")] = None,
    oracle: Annotated[
        str | None,
        typer.Option(
            callback=_known_oracle,
            help=f"who is asked: {ORACLES}, or PATH:NAME of your own [keys: oracle.name, oracle.own.path]",
        ),
    ] = None,
    preset: Annotated[
        PresetName | None, typer.Option(help="tiny: for the quickstart's small policy [key: preset]")
    ] = None,
    n: Annotated[int | None, typer.Option(help="trajectories a question [key: sampler.n]")] = None,
    seed: Annotated[int | None, typer.Option(help="the same seed, the same trajectories [key: seed]")] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="folder of prompt templates of your own [key: sampler.episode.prompts]")
    ] = None,
    engine: Annotated[
        Engine | None, typer.Option(help="ray: on the cluster of RAY_ADDRESS, else on this machine [key: engine]")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Ray actors [key: workers]")] = None,
) -> None:
    """Sample trajectories with GRN and CVS. Resumes where it was stopped; nothing is asked or written twice.

    Settings come from --config, KEY=VALUE and options; a key may be given once.
    """
    asked = ORACLE_KEY[oracle is not None and is_import_path(oracle)]
    options = {
        "data": data, "store": store, asked: oracle, "preset": preset, "sampler.n": n, "seed": seed, "engine": engine,
        "workers": workers, "sampler.episode.prompts": prompts,
    }  # fmt: skip
    with clear_errors(console):
        settings = build_settings(config, overrides or [], options)
        check_folder(settings.sampler.episode.prompts)
        make, unusable = settings.oracle.factory(
            settings.sampler.episode, settings.store.with_name(f"{settings.store.name}.replies"), settings.processes
        )
        for line in unusable[:SHOWN]:
            console.print(f"[yellow]not used:[/] {escape(line)}", highlight=False)
        if unusable:
            console.print(f"{len(unusable)} annotations were not used")
        # Twice as many questions as requests: while one is read or cut, another one's request is under way.
        plan = Plan(make, settings.sampler, settings.seed, 2 * settings.oracle.concurrency(settings.processes))
        total = _rows_in(settings.data)
        with progress_bar("experts", total) as advance, StoreWriter(settings.store) as writer:
            if settings.engine == "ray":
                counts = build_on_ray(plan, read_questions(settings.data), writer, settings.processes, advance)
            else:
                counts = build_here(plan, read_questions(settings.data), writer, advance)
        _print_counts(settings.store, counts)
    raise typer.Exit(1 if counts.stopped or counts.failed else 0)


@experts.command()
def inspect(
    store: StoreArgument,
    data: Rows,
    expert_id: Annotated[str | None, typer.Option("--id", help="the question [default: the first of the file]")] = None,
    number: Annotated[int, typer.Option(min=1, help="which of its trajectories")] = 1,
    png: Annotated[Path | None, typer.Option(help="draw the trajectory to this file")] = None,
    preset: Annotated[PresetName, typer.Option(help="whose crops to draw")] = "paper",
) -> None:
    """Show a trajectory: boxes on the picture, crops, confidences, modes; to the terminal and a PNG."""
    with clear_errors(console):
        reader = TrajectoryStore(store)
        known = (
            each for each in read_questions(data) if expert_id in (None, each.expert_id) and each.expert_id in reader
        )
        question = next(known, None)
        entry = reader.entry(question.expert_id) if question else None
        if question is None or entry is None or number > len(entry.trajectories):
            raise ValueError(f"{store}: no trajectory {number} for question {expert_id or 'of this file'!r}")
        trajectory = entry.trajectories[number - 1]
        walks = entry.record.get("walks", [])
        console.print(in_terminal(image_with_gazes(question, trajectory)))
        _print_trajectory(question, trajectory, walks[number - 1] if walks else None, len(entry.trajectories))
        if png is not None:
            sheet = trajectory_image(
                question, trajectory, sampler_preset(preset).episode, walks[number - 1] if walks else None
            )
            with atomic_path(png) as temporary:
                sheet.save(temporary, "PNG")
            console.print(f"drawn to {png}")


@experts.command()
def validate(
    store: StoreArgument,
    repair: Annotated[bool, typer.Option(help="keep what reads well, set damaged files aside")] = False,
) -> None:
    """Check every entry of a store; exit code 1 when something is damaged."""
    with clear_errors(console):
        with progress_bar("entries", None) as advance:
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
    with clear_errors(console):
        total = sum(len(any_store(source)) for source in sources)
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
        console.print(f"[bold red]damaged:[/] {escape(line)}", highlight=False)


def _print_trajectory(question: Question, trajectory: Trajectory, walk: Mapping[str, Any] | None, count: int) -> None:
    console.print(f"{question.expert_id}, one of {count}: {question.text}", markup=False, highlight=False)
    for number, step in enumerate(trajectory.steps, 1):
        box = [round(side) for side in step.box.as_list()]
        confidence = "" if step.confidence is None else f", c = {step.confidence:.2f}"
        console.print(f"{number}. {step.reasoning} → {box}{confidence}", markup=False, highlight=False)
    verdict = "right" if trajectory.correct else f"wrong, it is {question.ground_truth}"
    console.print(f"   {trajectory.conclusion} → {trajectory.answer} ({verdict})", markup=False, highlight=False)
    for decision in (walk or {}).get("decisions", ()):
        console.print(f"   {json.dumps(decision)}", markup=False, highlight=False, style="dim")
    if walk:
        console.print(f"   stopped: {walk['stop']}", style="dim")


def _print_counts(store: Path, counts: BuildCounts) -> None:
    console.print(
        f"{store}: {counts.trajectories} trajectories for {counts.questions} questions ({counts.wrong} labelled wrong, "
        f"{counts.shortfall} short of what was asked); {counts.known} questions were there already",
        highlight=False,
    )
    if counts.rejected:
        reasons = ", ".join(f"{reason} {count}" for reason, count in counts.rejected.most_common())
        console.print(f"not taken: {escape(reasons)}", highlight=False)
    for expert_id, reason in list(counts.failed.items())[:SHOWN]:
        console.print(f"[red]failed:[/] {escape(expert_id)}: {escape(reason)}", highlight=False)
    if counts.failed:
        console.print(f"{len(counts.failed)} questions failed; the same command takes them up again")
    if counts.stopped:
        console.print(f"[bold red]stopped:[/] {escape(counts.stopped)}; the same command goes on from here")


def _rows_in(data: Path) -> int:
    try:
        return pq.read_metadata(data).num_rows
    except pa.ArrowInvalid as error:
        raise ValueError(f"{data}: not a parquet file ({error}); name a table that was prepared") from error


def _folder(prompts: Path | None) -> str | None:
    return None if prompts is None else str(prompts)


def _changed(settings: Settings, **changes: Any) -> Settings:
    """`settings` with the options that were given."""
    given = {name: value for name, value in changes.items() if value is not None}
    return replace(settings, **given)  # type: ignore[type-var]


@contextmanager
def progress_bar(name: str, total: int | None) -> Iterator[Callable[[], None]]:
    """A bar of `total` steps, None where that is not known; yields the function that takes one."""
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(name, total=total)
        yield lambda: bar.advance(task)
