"""What a user names to be evaluated: a policy to serve, an endpoint, or the dump of a validation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medeyes_verl.evaluation.recipe import Recipe, guess_recipe, read_recipe, validation_tables
from medeyes_verl.evaluation.run_folder import policy_and_recipe, recipe_file

Kind = Literal["model", "endpoint", "dump"]


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be evaluated and by which rules."""

    kind: Kind
    name: str
    """A model's folder or Hugging Face name; a base URL; a dump's path."""
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
    elif path.suffix == ".jsonl":
        kind, name, home = "dump", named, path.with_suffix("")
    elif path.is_dir():
        folder, own = policy_and_recipe(path)
        told = told or own
        kind, name = "model", str(folder)
        home = Path("outputs/evaluate") / path.resolve().name if folder == path else path / "evaluation"
        tables = tables or _tables_of_run(path)
    elif path.exists() or named.startswith((".", "/")):
        raise ValueError(f"{named} is no folder, no dump (.jsonl) and no endpoint (http://…)")
    else:
        kind, name, home = "model", named, Path("outputs/evaluate") / path.name
    if told is None:
        raise ValueError(f"by which rules is {named} to be played? Say --recipe, such as qwen2_5_vl_3b")
    if not tables:
        raise ValueError("on which questions? Say --data TABLE.parquet")
    return Source(kind, name, told, tables, output or home)


def _tables_of_run(run: Path) -> tuple[Path, ...]:
    """The tables named test beside the run's validation tables, or else those themselves."""
    config = recipe_file(run)
    validation = validation_tables(config) if config else [run / "data" / "val.parquet"]
    test = [table.with_name("test.parquet") for table in validation]
    for tables in (test, validation):
        if tables and all(table.is_file() for table in tables):
            return tuple(dict.fromkeys(tables))
    return ()
