"""`medeyes-verl report`, `demo` and `export`: show what a run did, watch a policy, export its weights."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from medeyes_verl.cli.errors import clear_errors
from medeyes_verl.data.row import read_rows
from medeyes_verl.extras import require

console = Console()

QUICKSTART = Path("outputs/quickstart-phantom")


def report(
    runs: Annotated[list[Path] | None, typer.Argument(help="output directories of runs; several are compared")] = None,
    output: Annotated[Path | None, typer.Option(help="HTML file; default: report.html in the first run")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="episode settings: a recipe's name or file; default: the run's own")
    ] = None,
    experts: Annotated[Path | None, typer.Option(help="a trajectory store; default: data/experts in each run")] = None,
    cards: Annotated[int, typer.Option(min=0, max=500, help="maximum number of questions in the gallery")] = 60,
) -> None:
    """Write one HTML file about a run, or about several: curves, tables, and what the policy looked at."""
    from medeyes_verl.evaluation.recipe import read_recipe
    from medeyes_verl.evaluation.run_folder import run_model, run_recipe, run_rules
    from medeyes_verl.gaze.settings import EpisodeSettings
    from medeyes_verl.policies.chat_conversation import load_tokens
    from medeyes_verl.report.expert_play import ExpertReplay
    from medeyes_verl.report.page import write_report

    folders = runs or [QUICKSTART]
    with clear_errors(console):
        played = read_recipe(recipe) if recipe else run_recipe(folders[0])
        rules = (played.rules if played else run_rules(folders[0])) or EpisodeSettings()
        target = output or folders[0] / "report.html"
        replay = ExpertReplay(rules, why_whole=f"{folders[0]} holds no configuration of a run")
        if played is not None and (policy := run_model(folders[0])) is not None:
            try:
                replay = ExpertReplay(rules, load_tokens(policy), played.response_length)
            except (ValueError, ModuleNotFoundError) as error:
                replay = ExpertReplay(rules, why_whole=str(error))
        held = write_report(folders, target, rules, experts=experts, most_cards=cards, replay=replay)
    size = target.stat().st_size / 1e6
    console.print(f"{escape(str(target))}: {held}, {size:.1f} MB", highlight=False, soft_wrap=True)
    console.print("The report embeds dataset images; share it only under the dataset's terms.", highlight=False)


def demo(
    source: Annotated[str, typer.Argument(help="a run, a model folder, or an endpoint (http://…/v1)")] = str(
        QUICKSTART
    ),
    image: Annotated[list[Path] | None, typer.Option(help="an image file; may be given again")] = None,
    question: Annotated[str | None, typer.Option(help="default: the first validation question of the run")] = None,
    web: Annotated[bool, typer.Option(help="serve a web page on this machine instead of using the terminal")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="port of the page")] = 7860,
    recipe: Annotated[
        str | None, typer.Option(help="episode settings: a recipe's name or file; default: the run's own")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="for an endpoint: the model's name; default: its only model")
    ] = None,
    plain: Annotated[bool, typer.Option(help="for an endpoint: send only OpenAI's own fields")] = False,
) -> None:
    """Ask a policy one question about one image and watch its gazes. An endpoint's key is read from MEDEYES_API_KEY."""
    from medeyes_verl.demo.session import open_stage, read_picture
    from medeyes_verl.evaluation.recipe import read_recipe
    from medeyes_verl.evaluation.run_folder import check_policy, validation_table

    if web:
        require("starlette")

    async def run() -> None:
        key = os.environ.get("MEDEYES_API_KEY")
        async with open_stage(source, rules, model=model, api_key=key, plain=plain) as stage:
            if web:
                from medeyes_verl.demo.web import Example, serve_demo

                console.print(f"http://127.0.0.1:{port} (only from this machine; end with Ctrl-C)", highlight=False)
                await serve_demo(stage, port, Example(pictures, asked, truth) if pictures and truth else None)
                return
            from medeyes_verl.demo.terminal import show_episode

            await show_episode(console, stage, pictures, asked, truth)

    with clear_errors(console):
        if not source.startswith(("http://", "https://")):
            check_policy(Path(source))
        rules = read_recipe(recipe) if recipe else None
        pictures = [read_picture(path) for path in image or ()]
        truth: str | None = None
        asked = question or ""
        table = validation_table(Path(source))
        if not pictures and table is not None:
            row = next(read_rows(table))
            pictures = [read_picture(Path(path)) for path in row["images"]]
            asked, truth = question or row["extra_info"]["question"], row["reward_model"]["ground_truth"]
        if not web and not (pictures and asked):
            raise ValueError(f"{source} brings no question of its own; pass --image FILE --question TEXT")
        asyncio.run(run())


def export(
    checkpoint: Annotated[Path, typer.Argument(help="a run, its checkpoints, one global_step_N, or its actor folder")],
    target: Annotated[
        Path | None, typer.Argument(help="folder to write; default: export/global_step_N in the run")
    ] = None,
) -> None:
    """Merge an FSDP checkpoint into a Hugging Face folder, processor and chat template included."""
    from medeyes_verl.evaluation import export as exporting

    with clear_errors(console):
        actor = exporting.actor_folder(checkpoint)
        own = actor.parents[2] / "export" / actor.parent.name
        there = target is None and (own / "config.json").is_file()  # evaluate and demo export to it as well
        written = own if there else exporting.export(actor, target or own)
    already = ", exported already" if there else ""
    console.print(
        f"{escape(str(written))}: a Hugging Face folder in bfloat16{already}", highlight=False, soft_wrap=True
    )
    console.print(f"vllm serve {escape(str(written))}", highlight=False, soft_wrap=True)


def add_commands(app: typer.Typer) -> None:
    """Give a command line the three commands."""
    for command in (report, demo, export):
        app.command()(command)
