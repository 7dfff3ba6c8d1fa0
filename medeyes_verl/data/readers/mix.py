"""Mix the training files of several benchmarks into one.

    medeyes-verl prepare mix --input data/vqa_rad/train.parquet --input data/slake/train.parquet \\
        --weights balanced --output data/mixed/train.parquet
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medeyes_verl.data.image_source import SourceError
from medeyes_verl.data.mix import PROPORTIONAL, mix

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    input: Annotated[list[Path], typer.Option(help="A prepared parquet file; once for each benchmark.")],
    output: Annotated[Path, typer.Option(help="The parquet file to write.")],
    weights: Annotated[str, typer.Option(help="proportional, balanced, or numbers as 3,1,1.")] = PROPORTIONAL,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Rows of the mixture; else as many as go without a repetition.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides which rows, and their order.")] = 0,
) -> None:
    """Mix the training files of several benchmarks into one."""
    console = Console()
    try:
        given = mix(input, output, weights=weights, total=rows, seed=seed)
    except (SourceError, OSError) as error:
        console.print(f"[red]mix:[/] {escape(str(error))}")
        raise typer.Exit(1) from error
    table = Table(title=str(output))
    table.add_column("file")
    for name in ("rows", "taken", "passes"):
        table.add_column(name, justify="right")
    for share in given:
        table.add_row(escape(str(share.path)), str(share.rows), str(share.taken), f"{share.taken / share.rows:.2f}")
    console.print(table)
