"""The command line that all benchmarks share.

A benchmark brings a reader: a function of the source folder, plus keyword-only options of its own. The
command is made from both signatures, so a benchmark's own options stand beside the common ones in `--help`.
(Annotations are evaluated here, at once: those of `command` name local values.)
"""

import inspect
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from medeyes_verl.data.image_source import SourceError
from medeyes_verl.data.prepare import PrepareSettings, prepare
from medeyes_verl.data.record import Record
from medeyes_verl.data.revision import revision_of
from medeyes_verl.data.shards import Table, missing_shards, tables_in
from medeyes_verl.distribution.engine import EngineName
from medeyes_verl.extras import advice

Reader = Callable[..., Iterator[Record]]
_NAMED = 5
_CORES = len(os.sched_getaffinity(0))
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def _everything(**_: Any) -> tuple[str, ...]:
    return ("*",)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark to prepare.

    Attributes:
        name: the `data_source` of its rows.
        read: `read(folder, *, own options)`, yields records.
        hub_id: where the Hugging Face hub has it; named in the help.
        tables: the parquet files of a folder.
        notes: what else to say of a source, from the folder and own options; for the summary.
        hub_files: from the benchmark's own options to glob patterns of what is needed of that.
    """

    name: str
    read: Reader
    hub_id: str
    hub_files: Callable[..., tuple[str, ...]] = _everything
    tables: Callable[[Path], list[Table]] = tables_in
    notes: Callable[..., dict[str, list[str]]] | None = None


def make_app(benchmark: Benchmark) -> typer.Typer:
    """The command line of one benchmark."""
    own = {
        name: parameter
        for name, parameter in inspect.signature(benchmark.read, eval_str=True).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }

    def command(
        *,
        source: Annotated[
            str, typer.Option(help=f"Folder of the archive or of a snapshot, or a hub id ({benchmark.hub_id}).")
        ],
        output: Annotated[Path, typer.Option(help="Folder for the parquet files, images/ and summary.json.")],
        val_fraction: Annotated[
            float, typer.Option(min=0.0, max=0.9, help="Share of the training images to make val.parquet of.")
        ] = 0.0,
        seed: Annotated[int, typer.Option(help="Decides which images those are.")] = 0,
        expert_ids: Annotated[
            bool, typer.Option("--expert-ids", help="Training rows carry an expert_id, made of their id.")
        ] = False,
        drop_duplicates: Annotated[
            bool, typer.Option("--drop-duplicates", help="Keep one of equal questions, the later split's.")
        ] = False,
        drop_leaks: Annotated[
            bool, typer.Option("--drop-leaks", help="Drop training rows whose image is in a later split.")
        ] = False,
        strict: Annotated[bool, typer.Option("--strict", help="Fail when splits share images or questions.")] = False,
        allow_missing: Annotated[
            bool, typer.Option("--allow-missing", help="Leave out missing files, and questions without a usable image.")
        ] = False,
        near_copies: Annotated[bool, typer.Option(help="Look for near-copies of images across splits.")] = True,
        embed_images: Annotated[
            bool, typer.Option("--embed-images", help="Put the images into the parquet files.")
        ] = False,
        relative: Annotated[
            bool, typer.Option("--relative", help="Refer to images from the parquet file's folder.")
        ] = False,
        engine: Annotated[EngineName, typer.Option(help="Processes on this machine, or Ray Data.")] = "local",
        workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = _CORES,
        **options: Any,
    ) -> None:
        if embed_images and relative:
            raise typer.BadParameter("--embed-images and --relative exclude each other")
        settings = PrepareSettings(
            output=output,
            images="embedded" if embed_images else "relative" if relative else "absolute",
            allow_missing=allow_missing,
            drop_duplicates=drop_duplicates,
            drop_leaks=drop_leaks,
            strict=strict,
            val_fraction=val_fraction,
            seed=seed,
            expert_ids=expert_ids,
            near_copies=near_copies,
            engine=engine,
            workers=workers,
        )
        _run(benchmark, source, settings, options)

    common = inspect.signature(command).parameters.values()
    parameters = [parameter for parameter in common if parameter.kind is not parameter.VAR_KEYWORD]
    command.__signature__ = inspect.Signature([*parameters, *own.values()])  # type: ignore[attr-defined]
    command.__doc__ = escape(inspect.getdoc(inspect.getmodule(benchmark.read)) or "")  # typer reads help as markup
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    return app


def _run(benchmark: Benchmark, source: str, settings: PrepareSettings, options: dict[str, Any]) -> None:
    console = Console()
    try:
        folder, name = source_folder(source, benchmark.hub_files(**options))
        if settings.output.resolve().is_relative_to(folder.resolve()):
            raise SourceError(f"--output {settings.output} lies inside the source; give a folder beside it")
        missing = missing_shards(benchmark.tables(folder))
        if missing and not settings.allow_missing:
            raise SourceError(
                f"{len(missing)} files of the data set are missing, first {', '.join(missing[:_NAMED])}. "
                "Put them there, or take the others alone with --allow-missing"
            )
        notes = benchmark.notes(folder, **options) if benchmark.notes else {}
        records = partial(benchmark.read, folder, **options)
        summary = prepare(benchmark.name, name, records, settings, console, missing_files=missing, notes=notes)
    except SourceError as error:
        console.print(f"[red]{benchmark.name}:[/] {escape(str(error))}")
        raise typer.Exit(1) from error
    except ModuleNotFoundError as error:  # the scripts in data_preprocess/ have no command line above them that says it
        if (sentence := advice(error)) is None:
            raise
        console.print(f"[red]{benchmark.name}:[/] {escape(sentence)}", soft_wrap=True)
        raise typer.Exit(1) from error
    except OSError as error:
        console.print(
            f"[red]{benchmark.name}:[/] {escape(str(error))}. What was done is kept in "
            f"{escape(str(settings.output))}: fix this and run the same command again"
        )
        raise typer.Exit(1) from error
    summary.show(console)


def source_folder(source: str, hub_files: tuple[str, ...]) -> tuple[Path, str]:
    """The folder `source` names, and what to call it; a hub id is downloaded into the hub's own cache first."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return revision_of(folder, source)
    if folder.exists() or source.startswith((".", "/", "~")) or not _HUB_ID.fullmatch(source):
        raise SourceError(f"{source} is no folder, and no dataset id of the Hugging Face hub (owner/name)")
    import huggingface_hub

    try:
        found = huggingface_hub.snapshot_download(source, repo_type="dataset", allow_patterns=list(hub_files))
        return Path(found), source
    except Exception as error:  # the hub's client raises its own, httpx's and the system's errors
        raise SourceError(
            f"{source} is no folder here, and could not be downloaded from the Hugging Face Hub: {error}"
        ) from error
