"""What a user names to be evaluated: a policy to serve or of her own, an endpoint, or the dump of a validation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from medeyes_verl.evaluation.recipe import Recipe, guess_recipe, read_recipe, validation_tables
from medeyes_verl.evaluation.run_folder import policy_and_recipe, recipe_file
from medeyes_verl.import_path import is_import_path

Kind = Literal["model", "endpoint", "dump", "policy"]
SOURCES = (
    "name the output directory of a run, a model folder, a model of the Hugging Face Hub (owner/name), "
    "an endpoint (http://HOST:PORT/v1), a dump of a validation (.jsonl), or a policy of your own (FILE.py:NAME)"
)
"""What an evaluation takes, as errors say it."""
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]*\w")


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be evaluated and by which rules."""

    kind: Kind
    name: str
    """A model's folder or Hugging Face name; a base URL; a dump's path; a policy's import path."""
    recipe: Recipe
    tables: tuple[Path, ...]
    output: Path


def find_source(
    named: str, recipe: str | None, tables: tuple[Path, ...], output: Path | None, processor: str | None
) -> Source:
    """Tell what `named` is, and fill in from a run's folder what was not said.

    Raises ValueError saying which option is missing.
    """
    told = None if recipe is None else read_recipe(recipe)
    path = Path(named)
    kind: Kind
    if named.startswith(("http://", "https://")):
        kind, name, home = "endpoint", named, Path("outputs/evaluate/endpoint")
        if told is None and processor is not None:
            told = read_recipe(guess_recipe(Path(processor)))
    elif is_import_path(named) and not path.exists():
        kind, name, home = "policy", named, Path("outputs/evaluate") / named.rpartition(":")[2]
        if told is None and processor is not None:
            told = read_recipe(guess_recipe(Path(processor)))
    elif path.is_dir():
        folder, own = policy_and_recipe(path)
        told = told or own
        kind, name = "model", str(folder)
        home = Path("outputs/evaluate") / path.resolve().name if folder == path else path / "evaluation"
        tables = tables or _tables_of_run(path)
    elif path.is_file():
        if path.suffix != ".jsonl":
            raise ValueError(f"{named}: not a dump of a validation (.jsonl); {SOURCES}")
        kind, name, home = "dump", named, path.with_suffix("")
    else:
        config = _config_from_hub(named)
        told = told or read_recipe(guess_recipe(config.parent))
        kind, name, home = "model", named, Path("outputs/evaluate") / path.name
    if told is None:
        raise ValueError(f"cannot infer a recipe for {named}; pass --recipe (for example qwen2_5_vl_3b)")
    if not tables:
        raise ValueError(f"no questions are known for {named}; pass --data TABLE.parquet")
    return Source(kind, name, told, tables, output or home)


def _config_from_hub(named: str) -> Path:
    """The config.json of a model on the Hugging Face Hub, from its cache or downloaded. Raises ValueError."""
    if not _HUB_NAME.fullmatch(named):
        raise ValueError(f"{named}: no such folder or file; {SOURCES}")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(named, "config.json"))
    except Exception as error:  # the hub's client raises its own, httpx's and the system's errors
        raise ValueError(
            f"{named}: no such folder, and no model of that name could be loaded from the Hugging Face Hub "
            f"({type(error).__name__}); {SOURCES}"
        ) from error


def _tables_of_run(run: Path) -> tuple[Path, ...]:
    """The tables named test beside the run's validation tables, or those themselves where a test table has no rows."""
    config = recipe_file(run)
    validation = validation_tables(config) if config else [run / "data" / "val.parquet"]
    test = [table.with_name("test.parquet") for table in validation]
    for tables in (test, validation):
        if tables and all(_has_rows(table) for table in tables):
            return tuple(dict.fromkeys(tables))
    return ()


def _has_rows(table: Path) -> bool:
    """Whether the table is there and has rows; a damaged one counts, so that reading it names what is wrong."""
    try:
        return table.is_file() and pq.read_metadata(table).num_rows > 0
    except pa.ArrowInvalid:
        return True
