"""Make the phantom benchmark: pictures, questions and true boxes, in the rows every benchmark shares.

    medeyes-verl prepare phantom --output data/phantom --train 2000 --val 96 --test 200 --seed 1

writes train.parquet, val.parquet, test.parquet (none for a split of 0 questions), images/ and phantom.json (what they
were made from). Any row can be made again from its seed, split and index; a second run with the same settings finds its
work done.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from medeyes_verl.data.atomic import sweep_temporaries, write_json
from medeyes_verl.data.phantom import PhantomSettings, QuestionMix, make_phantom_row
from medeyes_verl.data.phantom_images import DIFFICULTIES
from medeyes_verl.data.row import Row, Split, write_rows

STAMP = "phantom.json"
ROWS_A_TASK = 16
console = Console()
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

DifficultyName = Enum("DifficultyName", {name: name for name in DIFFICULTIES}, type=str)  # type: ignore[misc]


@app.command()
def main(
    output: Path = typer.Option(..., help="Folder to write to."),
    train: int = typer.Option(2000, min=0, help="Training questions; each may have experts."),
    val: int = typer.Option(96, min=0, help="Validation questions."),
    test: int = typer.Option(200, min=0, help="Test questions."),
    seed: int = typer.Option(0, min=0, help="The same seed gives the same benchmark."),
    difficulty: DifficultyName = typer.Option("easy", help="How hard to see, to aim and to tell apart."),
    question_mix: str = typer.Option("1,0,0", help="Shares of open, closed (yes/no) and multiple-choice questions."),
    workers: int = typer.Option(0, min=0, help="Processes that draw; 0: one a core."),
) -> None:
    """Make the phantom benchmark."""
    settings = PhantomSettings(difficulty.value, _mix(question_mix), seed)
    sizes: dict[Split, int] = {"train": train, "val": val, "test": test}
    stamp = {"settings": asdict(settings), "rows": sizes}
    if _is_done(output, stamp):
        console.print(f"{output}: already made with these settings")
        return
    (output / STAMP).unlink(missing_ok=True)
    sweep_temporaries(output)
    counts: dict[str, Counter[str]] = {}
    # Spawned, not forked: the progress bar runs in a thread, and a fork of several threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=context) as pool:
        for split, size in sizes.items():
            counts[split] = Counter()
            if not size:  # a table without rows is one that no command can use
                (output / f"{split}.parquet").unlink(missing_ok=True)
                continue
            task = partial(make_phantom_row, settings, split, root=output)
            rows = pool.map(task, range(size), chunksize=ROWS_A_TASK)
            shown = track(rows, f"{split:5}", total=size, console=console)
            write_rows(output / f"{split}.parquet", _counted(shown, counts[split]))
    write_json(output / STAMP, stamp)
    _print_summary(output, settings, counts)


def _mix(text: str) -> QuestionMix:
    try:
        shares = [float(share) for share in text.split(",")]
        return QuestionMix(*shares)
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(f"{text!r}: {error}; write three shares such as 0.6,0.2,0.2") from error


def _is_done(output: Path, stamp: dict[str, Any]) -> bool:
    try:
        return bool(json.loads((output / STAMP).read_text()) == stamp)
    except (FileNotFoundError, ValueError):
        return False


def _counted(rows: Iterable[Row], counts: Counter[str]) -> Iterator[Row]:
    for row in rows:
        counts[f"{row.question_type}: {row.answer}"] += 1
        yield row


def _print_summary(output: Path, settings: PhantomSettings, counts: dict[str, Counter[str]]) -> None:
    table = Table(title=f"phantom, {settings.difficulty}, seed {settings.seed}: {output}")
    table.add_column("question type: answer")
    for split in counts:
        table.add_column(split, justify="right")
    for name in sorted(set().union(*counts.values())):
        table.add_row(name, *(str(count[name]) for count in counts.values()))
    table.add_section()
    table.add_row("all", *(str(count.total()) for count in counts.values()))
    console.print(table)
