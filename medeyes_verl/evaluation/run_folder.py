"""Where things are in the folder a training run wrote, so that a command needs to be told nothing but the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medeyes_verl.evaluation.export import exported_policy
from medeyes_verl.evaluation.recipe import Recipe, guess_recipe, read_recipe

TINY_POLICY = "tiny_policy"
"""The policy that quickstart trains from, in the run's folder."""


def recipe_file(run: Path) -> Path | None:
    """The newest composed configuration that Hydra left in the run's folder; None where there is none."""
    found = [path for pattern in ("", "*/", "*/*/", "*/*/*/") for path in run.glob(f"{pattern}.hydra/config.yaml")]
    return max(found, key=lambda path: (path.stat().st_mtime, path), default=None)


def run_recipe(run: Path) -> Recipe | None:
    """The recipe the run was trained by; None where its folder does not tell."""
    file = recipe_file(run)
    return None if file is None else read_recipe(file)


def policy_and_recipe(path: Path) -> tuple[Path, Recipe]:
    """The model folder and the rules that `path` means: a model folder, or a run, whose newest checkpoint is exported.

    A run without a checkpoint is played with the policy it started from. Raises ValueError.
    """
    if (path / "config.json").is_file():
        return path, read_recipe(guess_recipe(path))
    if (path / "checkpoints").is_dir():
        model = exported_policy(path)
    elif (path / TINY_POLICY / "config.json").is_file():
        model = path / TINY_POLICY
    else:
        raise ValueError(f"{path} is neither a model folder nor a run with checkpoints")
    return model, run_recipe(path) or read_recipe(guess_recipe(model))


def first_row(run: Path) -> dict[str, Any] | None:
    """The first validation question of the run's data; None where there is none."""
    from medeyes_verl.data.row import read_rows

    table = run / "data" / "val.parquet"
    return next(read_rows(table), None) if table.is_file() else None
