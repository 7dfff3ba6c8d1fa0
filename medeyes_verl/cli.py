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
    data: Annotated[list[Path] | None, typer.Option(help="a prepared table to check; may be given again")] = None,
    model: Annotated[str | None, typer.Option(help="a model folder to check")] = None,
    fix: Annotated[bool, typer.Option(help="first mend what can be mended in a CPU environment")] = False,
) -> None:
    """Check versions, the plugin here and in a Ray worker, torchvision, vLLM, and a model and tables if given."""
    from medeyes_verl.doctor import inputs
    from medeyes_verl.doctor.installation import installation
    from medeyes_verl.doctor.plugin import plugin
    from medeyes_verl.environment import repair

    if fix:
        for done in repair():
            console.print(f"[cyan]mended[/] {escape(done)}", highlight=False)
    sick = _show(installation()) + _show(plugin())
    if model is not None:
        sick += _show(inputs.model(model))
    for table in data or []:
        sick += _show(inputs.table(table))
    console.print(f"doctor: {sick} things to mend" if sick else "doctor: all is well")
    raise typer.Exit(1 if sick else 0)


def _show(findings: Iterable[Finding]) -> int:
    """Print each finding as it is made; returns how many are not well."""
    sick = 0
    for finding in findings:
        mark = "[green]ok  [/]" if finding.healthy else "[red]BAD [/]"
        console.print(f"{mark}{escape(finding.subject)}: {escape(finding.seen)}", highlight=False)
        if not finding.healthy:
            sick += 1
            console.print(f"      {escape(finding.remedy)}", highlight=False, style="yellow")
    return sick


if __name__ == "__main__":
    app()
