"""A command line that says what to install where an extra is absent."""

from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from medeyes_verl.extras import advice


class Commands(TyperGroup):
    """A command line that answers a missing extra with a sentence and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if (sentence := advice(error)) is None:
                raise
            Console(stderr=True).print(f"[bold red]error:[/] {escape(sentence)}", highlight=False, soft_wrap=True)
            raise typer.Exit(1) from error
