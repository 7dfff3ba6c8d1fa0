"""`medeyes-verl`: the project's command line."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from medeyes_verl import cli_evaluate, cli_report
from medeyes_verl.cli_experts import experts
from medeyes_verl.cli_prepare import prepare
from medeyes_verl.doctor.check import Finding

app = typer.Typer(no_args_is_help=True, help="MedEyes for veRL.", pretty_exceptions_enable=False)
app.add_typer(prepare, name="prepare")
app.add_typer(experts, name="experts")
cli_evaluate.add_commands(app)
cli_report.add_commands(app)
console = Console()


@app.callback()
def main() -> None:
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
    fix: Annotated[bool, typer.Option(help="first fix what can be fixed in a CPU environment")] = False,
) -> None:
    """Check versions, the plugin here and in a Ray worker, torchvision, vLLM, and model, tables and recipe if given.

    With --data and --recipe the stored experts are played by the recipe's rules, to see whether they teach anything.
    """
    from medeyes_verl.doctor import inputs
    from medeyes_verl.doctor.installation import installation
    from medeyes_verl.doctor.model import model as model_findings
    from medeyes_verl.doctor.plugin import plugin
    from medeyes_verl.environment import repair

    if overrides and recipe is None:
        raise typer.BadParameter(f"{' '.join(overrides)}: overrides need --recipe")
    if fix:
        for done in repair():
            console.print(f"[cyan]fixed[/] {escape(done)}", highlight=False)
    failed = _show(installation()) + _show(plugin())
    if model is not None:
        failed += _show(model_findings(model))
    for table in data or []:
        if recipe is None:
            failed += _show(inputs.table(table, experts))
        else:
            failed += _show(inputs.table_under_recipe(table, recipe, model, experts, overrides or []))
    if recipe is not None and not data:
        failed += _show(inputs.recipe_alone(recipe, model, experts, overrides or []))
    console.print(f"doctor: {failed} checks failed" if failed else "doctor: all checks passed")
    raise typer.Exit(1 if failed else 0)


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
