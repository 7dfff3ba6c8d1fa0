"""`medeyes-verl prepare`: from a benchmark's files to the tables that training and evaluation read."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

HELP = "Prepare a benchmark's tables and images for training and evaluation."
READERS = {
    "vqa-rad": "vqa_rad",
    "slake": "slake",
    "path-vqa": "path_vqa",
    "pmc-vqa": "pmc_vqa",
    "mmmu": "mmmu",
    "phantom": "phantom",
    "mix": "mix",
}
"""Command -> module of `medeyes_verl.data.readers`, imported when its command is asked for."""


class ReaderGroup(TyperGroup):
    """The commands of the readers, under names that the readers need not know."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(READERS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        if cmd_name not in READERS:
            return None
        command = cast(TyperCommand, get_command(import_module(f"medeyes_verl.data.readers.{READERS[cmd_name]}").app))
        command.name = cmd_name
        return command


prepare = typer.Typer(cls=ReaderGroup, no_args_is_help=True, help=HELP)


@prepare.callback()
def main() -> None:
    """Prepare a benchmark's tables and images for training and evaluation."""
