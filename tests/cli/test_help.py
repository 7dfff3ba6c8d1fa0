"""Help texts as they are shown: nothing of what was written is swallowed on the way, such as `[…]` read as markup."""

import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from medeyes_verl.cli.app import app

ROOT = Path(__file__).parents[2]
WIDE = {"COLUMNS": "400", "TERMINAL_WIDTH": "400"}


def _script(path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    spec = importlib.util.spec_from_file_location(f"help_of_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where a command looks for its help
    spec.loader.exec_module(module)
    if hasattr(module, "app"):
        return module.app
    made = typer.Typer()
    made.command()(module.main)
    return made


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The command and all below it."""
    yield path, command
    if hasattr(command, "list_commands"):
        context = command.make_context("walk", [], resilient_parsing=True)
        for name in command.list_commands(context):
            yield from _commands(command.get_command(context, name), (*path, name))


OURS = dict(_commands(get_command(app), ()))
SCRIPTS = sorted((ROOT / "data_preprocess").glob("*.py"))


@pytest.mark.parametrize("path", OURS, ids=" ".join)
def test_every_word_of_a_commands_help_is_shown(path: tuple[str, ...]) -> None:
    _compare(app, path, OURS[path])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_every_word_of_a_scripts_help_is_shown(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = _script(script, monkeypatch)
    _compare(made, (), get_command(made))


def test_the_walk_meets_every_command() -> None:
    assert {("experts", "build"), ("evaluate",), ("demo",), ("doctor",)} <= OURS.keys()
    assert len(SCRIPTS) >= 7


def test_what_is_swallowed_is_found() -> None:
    """The comparison itself, on a help text that rich reads as markup."""
    bad = typer.Typer(rich_markup_mode="rich")

    @bad.command()
    def main(cache: str = typer.Option("", help="folder [default: elsewhere]")) -> None:
        """Show `[image 1]`."""

    with pytest.raises(AssertionError, match="swallowed"):
        _compare(bad, (), get_command(bad))


def _compare(shown_by: typer.Typer, path: tuple[str, ...], command: Any) -> None:
    result = CliRunner().invoke(shown_by, [*path, "--help"], env=WIDE)
    assert result.exit_code == 0, result.output
    assert command.help, f"{' '.join(path)} --help says nothing"
    shown = _words(result.output)
    written = [inspect.cleandoc(command.help or "").partition("\f")[0]]
    written += [parameter.help for parameter in command.params if getattr(parameter, "help", None)]
    if getattr(command, "rich_markup_mode", None) is not None:  # a text that is rendered as markup escapes its brackets
        written = [text.replace("\\[", "[") for text in written]
    for text in written:
        for paragraph in re.split(r"\n\s*\n", text):
            assert _words(paragraph) in shown, f"swallowed of {' '.join(path)} --help: {paragraph}"


def _words(text: str) -> str:
    """Without spaces, line ends and the frames of tables."""
    return re.sub(r"[\s│╭╮╰╯─]+", "", text)
