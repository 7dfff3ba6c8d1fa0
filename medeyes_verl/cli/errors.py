"""Errors that a user can act on, told by every command in the same way: one line, exit code 1, no traceback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape


@contextmanager
def clear_errors(console: Console, hint: str = "") -> Iterator[None]:
    """Turn the errors a user can act on into one line and exit code 1; any other error keeps its traceback.

    Args:
        console: where the line is printed.
        hint: a second line after an error of an endpoint or of a user's policy, such as how to resume.
    """
    from medeyes_verl.expert.entry_file import StoreError
    from medeyes_verl.policies.client import EndpointError, RequestRefusedError
    from medeyes_verl.policies.own import OwnPolicyError

    try:
        yield
    except (ValueError, OSError, StoreError, EndpointError, RequestRefusedError, OwnPolicyError) as error:
        console.print(f"[bold red]error:[/] {escape(_sentence(error))}", highlight=False, soft_wrap=True)
        if hint and isinstance(error, EndpointError | OwnPolicyError):
            console.print(escape(hint), highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _sentence(error: Exception) -> str:
    """The error's own message; for a bare error of the system the file and what is wrong with it."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)
