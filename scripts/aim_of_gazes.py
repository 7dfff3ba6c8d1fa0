"""Where the gazes of logged episodes go.

python scripts/aim_of_gazes.py outputs/ablations/runs/*/logs/validation-*.jsonl

A line for each file and gaze: how many episodes have it, in what share it shows a region, and one not seen before; of
how many it is the last, and how many of these are right. The figures of second and third gazes in docs/results.md are
these.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from ablations.aim import aims
from rich.console import Console
from rich.table import Table

from medeyes_verl.evaluation.episode_log import read_episodes


def main(
    files: Annotated[
        list[Path],
        typer.Argument(exists=True, dir_okay=False, help="episode logs, as a run or `evaluate` leaves them"),
    ],
) -> None:
    """Print the table."""
    table = Table()
    table.add_column("file", no_wrap=True)
    for column in ("gaze", "games", "region", "new", "last", "right"):
        table.add_column(column)
    for file in files:
        for n, aim in enumerate(aims(read_episodes(file)), start=1):
            shares = (f"{count / aim.episodes:.0%}" for count in (aim.on_region, aim.on_new_region))
            name = "/".join((*file.parts[-3:-2], file.stem))
            table.add_row(name, str(n), str(aim.episodes), *shares, str(aim.last), str(aim.right))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
