"""`medeyes-verl`: the project's command line."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from medeyes_verl import __version__
from medeyes_verl.cli import evaluate, report, train
from medeyes_verl.cli.commands import Commands
from medeyes_verl.cli.experts import experts
from medeyes_verl.cli.prepare import prepare
from medeyes_verl.doctor.check import Finding

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="MedEyes for veRL.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(prepare, name="prepare")
app.add_typer(experts, name="experts")
evaluate.add_commands(app)
train.add_commands(app)
report.add_commands(app)
console = Console()


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"medeyes-verl {__version__}")
        raise typer.Exit()


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    """MedEyes for veRL."""


@app.command()
def doctor(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="with --recipe: Hydra overrides, as main_ppo takes them")
    ] = None,
    data: Annotated[list[Path] | None, typer.Option(help="a table to check; may be given again")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="recipe to check tables and experts against: qwen2_5_vl_3b,recommended")
    ] = None,
    model: Annotated[str | None, typer.Option(help="a model folder to check; makes the token budget exact")] = None,
    experts: Annotated[Path | None, typer.Option(help="trajectory store; by default experts/ beside the table")] = None,
    fix: Annotated[bool, typer.Option(help="first repair what can be repaired in a CPU environment")] = False,
) -> None:
    """Check versions, the plugin here and in a Ray worker, torchvision, vLLM, and model, tables and recipe if given.

    With --data and --recipe the stored experts are played by the recipe's rules, to see whether they teach anything.
    """
    from medeyes_verl.doctor.installation import installation
    from medeyes_verl.doctor.plugin import plugin

    if overrides and recipe is None:
        raise typer.BadParameter(f"{' '.join(overrides)}: overrides need --recipe")
    if fix:
        _repair()
    failed = _show(installation()) + _show(plugin())
    if model is not None:
        from medeyes_verl.doctor.model import model as model_findings

        failed += _show(model_findings(model))
    if data or recipe is not None:
        from medeyes_verl.doctor import inputs  # needs torch, which an installation of the core does not have
    for table in data or []:
        if recipe is None:
            failed += _show(inputs.table(table, experts))
        else:
            failed += _show(inputs.table_under_recipe(table, recipe, model, experts, overrides or []))
    if recipe is not None and not data:
        failed += _show(inputs.recipe_alone(recipe, model, experts, overrides or []))
    console.print(
        f"doctor: {failed} check{'s' if failed > 1 else ''} failed" if failed else "doctor: all checks passed"
    )
    raise typer.Exit(1 if failed else 0)


def _repair() -> None:
    """Repair the environment, then let a fresh process check it: this one still sees what was installed before."""
    from medeyes_verl.doctor.environment import RepairError, repair

    try:
        repaired = repair()
    except RepairError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        raise typer.Exit(1) from error
    for done in repaired:
        console.print(f"[cyan]repaired[/] {escape(done)}", highlight=False)
    if repaired:
        arguments = [argument for argument in sys.argv[1:] if argument != "--fix"]
        raise typer.Exit(subprocess.run([sys.executable, "-m", "medeyes_verl.cli", *arguments], check=False).returncode)


def _show(findings: Iterable[Finding]) -> int:
    """Print each finding as it is made; returns how many failed."""
    failed = 0
    for finding in findings:
        mark = "[green]passed[/]" if finding.passed else "[red]FAILED[/]"
        console.print(f"{mark} {escape(finding.subject)}: {escape(finding.seen)}", highlight=False)
        if not finding.passed:
            failed += 1
            console.print(f"       {escape(finding.remedy)}", highlight=False, style="yellow")
    return failed


if __name__ == "__main__":
    app()
