"""Run the ablations and make docs/results.md's tables and picture: python scripts/run_ablations.py

Every run is stock main_ppo with the recipe cpu_tiny. What is done is kept, and started again it goes on; the tables
and the picture are in outputs/ablations/results.md. `--rows` and `--seeds` choose, `--list` shows the table of runs.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from ablations import benchmark, bounds, page
from ablations.results import FOUND, Result, read_results
from ablations.rows import ROWS, Row, named
from ablations.runner import STEPS, Plan, run_all
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from medeyes_verl.data.atomic import write_json

ROOT = Path(__file__).resolve().parents[1]
console = Console()


def main(
    output: Annotated[Path, typer.Option(help="folder for the benchmark and the runs")] = Path("outputs/ablations"),
    results: Annotated[
        Path | None, typer.Option(help="folder for the results of the runs, beside their page; default: in the output")
    ] = None,
    rows: Annotated[str, typer.Option(help="names, with commas; else all")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="at most so many seeds a row")] = 3,
    steps: Annotated[int, typer.Option(min=2, help="training steps of a run")] = STEPS,
    list_rows: Annotated[bool, typer.Option("--list", help="show the table of runs and end")] = False,
) -> None:
    """Run what is not there yet, then write the page."""
    try:
        chosen = named(rows.split(",")) if rows else list(ROWS)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if list_rows:
        show(chosen)
        return
    output = output.absolute()
    results = results or output / "results"
    size = benchmark.BenchmarkSize()
    prepare(output, size, chosen)
    plan = Plan(data=output / "data", output=output / "runs", results=results, steps=steps)
    runs = [(row, seed) for row in chosen for seed in row.seeds[:seeds]]
    try:
        failed = follow(plan, runs)
    except ValueError as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        raise typer.Exit(1) from error
    write_bounds(plan, size)
    write_page(results)
    for line in failed:
        console.print(f"[red]{line}[/red]", highlight=False)
    if failed:
        raise typer.Exit(1)


def prepare(output: Path, size: benchmark.BenchmarkSize, rows: list[Row]) -> None:
    """Questions, experts and the policy, each made once."""
    logs = output / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    for step in benchmark.steps(output / "data", ROOT, size, {row.experts for row in rows}):
        if step.leaves.exists():
            continue
        console.print(f"{step.name} …")
        log = logs / f"{step.leaves.parent.name}-{step.leaves.name}.log"
        with log.open("w", encoding="utf-8") as said:
            done = subprocess.run(step.command, stdout=said, stderr=said, check=False)
        if done.returncode:
            console.print(f"[red]{step.name} ended with {done.returncode}: see {log}[/red]")
            raise typer.Exit(1)


def follow(plan: Plan, runs: list[tuple[Row, int]]) -> list[str]:
    """All runs, with a bar and a line for each that ends."""
    kept = sum(map(len, read_results(plan.results, [row for row, _ in runs]).values()))
    columns = (TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=len(runs), completed=kept)

        def on_end(result: Result) -> None:
            bar.advance(task)
            bar.console.print(
                f"{result.row}, seed {result.seed}: accuracy {result.accuracy:.3f}, found {result.last(FOUND):.3f}, "
                f"{result.last('gazes'):.2f} gazes, {result.minutes:.1f} min"
            )

        return run_all(plan, runs, on_end)


def write_bounds(plan: Plan, size: benchmark.BenchmarkSize) -> None:
    """What a policy without a crop and one with a perfect gaze score; measured once for a policy."""
    kept, mark = plan.results / "bounds.json", benchmark.policy_mark(plan.data)
    if kept.exists() and json.loads(kept.read_text(encoding="utf-8"))["policy"] == mark:
        return
    questions = benchmark.questions(plan.data)
    with Progress(TextColumn("without a gaze"), BarColumn(), TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task("", total=1.0)
        found = bounds.measure(
            benchmark.policy(plan.data),
            questions / "train.parquet",
            questions / "val.parquet",
            size.warmup_steps,
            lambda progress: bar.update(task, completed=progress.share),
        )
    write_json(kept, {"policy": mark, **asdict(found)})


def write_page(results: Path) -> None:
    """The tables and the picture of docs/results.md, from all the results there are."""
    found = read_results(results, ROWS)
    bound = json.loads((results / "bounds.json").read_text(encoding="utf-8"))
    sides = "\n".join(
        f"- {says}: {bound[name]['accuracy']:.1%} right"
        for name, says in (
            ("no_gaze", "a policy that cannot crop, warmed up for as many steps to answer from the view (chance: 25%)"),
            ("led", "the policy itself, its first gaze put on the lesion"),
        )
    )
    page.picture(results / "curves.png", ROWS, found)
    curves = f"![learning curves]({results.name}/curves.png)"
    parts = {"curves": curves, "table": page.table(ROWS, found), "traps": page.traps(ROWS, found), "bounds": sides}
    page.fill(results.with_suffix(".md"), parts)
    console.print(f"{results.with_suffix('.md')}: {sum(map(len, found.values()))} runs of {len(found)} rows")


def show(rows: list[Row]) -> None:
    """The table of runs."""
    table = Table("row", "", "group", "experts", "seeds", "overrides")
    for row in rows:
        table.add_row(row.name, row.says, row.group, row.experts, str(len(row.seeds)), " ".join(row.overrides))
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
