"""Where things are in the folder a training run wrote, so that a command needs to be told nothing but the folder."""

from __future__ import annotations

import json
from pathlib import Path

from omegaconf import OmegaConf

from medeyes_verl.evaluation.episode_log import LoggedEpisode, read_episodes
from medeyes_verl.evaluation.export import exported_policy
from medeyes_verl.evaluation.recipe import Recipe, guess_recipe, read_recipe, validation_tables
from medeyes_verl.evaluation.run import EPISODES, SETTINGS
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.settings.reader import read

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


def run_model(run: Path) -> str | None:
    """The policy the run started from, a folder or a Hugging Face name; None where its folder does not tell."""
    file = recipe_file(run)
    return None if file is None else OmegaConf.select(OmegaConf.load(file), "actor_rollout_ref.model.path")


def run_rules(folder: Path) -> EpisodeSettings | None:
    """The rules of a training run's episodes, or of an evaluation's; None where its folder does not tell."""
    recipe = run_recipe(folder)
    if recipe is not None:
        return recipe.rules
    settings = folder / SETTINGS
    if not settings.is_file():
        return None
    stored = json.loads(settings.read_text(encoding="utf-8"))["recipe"]["rules"]
    return read(EpisodeSettings, stored, "recipe.rules", origin=str(settings))


def policy_and_recipe(path: Path) -> tuple[Path, Recipe]:
    """The model folder and the rules that `path` means: a model folder, or a run, whose newest checkpoint is exported.

    A run without a checkpoint is played with the policy it started from. Raises ValueError.
    """
    check_policy(path)
    if (path / "config.json").is_file():
        return path, read_recipe(guess_recipe(path))
    model = exported_policy(path) if (path / "checkpoints").is_dir() else path / TINY_POLICY
    return model, run_recipe(path) or read_recipe(guess_recipe(model))


def check_policy(path: Path) -> None:
    """Check that `path` is a model folder or a run with a policy. Raises ValueError naming what may be given."""
    signs = ("config.json", "checkpoints", f"{TINY_POLICY}/config.json")
    if not any((path / sign).exists() for sign in signs):
        problem = "neither a model folder nor a run with checkpoints" if path.is_dir() else _no_folder(path)
        raise ValueError(
            f"{path}: {problem}; name the output directory of a run, a model folder (with config.json), or an endpoint "
            "(http://HOST:PORT/v1)"
        )


def evaluated(path: Path) -> list[LoggedEpisode]:
    """Read the episodes of an evaluation: its output directory, or its log. Raises ValueError naming `path`."""
    log = path / EPISODES if path.is_dir() else path
    remedy = f"name the output directory of `medeyes-verl evaluate`, or its {EPISODES}"
    if not log.is_file():
        raise ValueError(f"{path}: {f'holds no {EPISODES}' if path.is_dir() else 'no such file or folder'}; {remedy}")
    try:
        episodes = read_episodes(log)
    except ValueError as error:
        raise ValueError(f"{path}: not a log of episodes ({error}); {remedy}") from error
    if not episodes:
        raise ValueError(f"{path}: holds no finished episode; {remedy}")
    return episodes


def _no_folder(path: Path) -> str:
    return "a file, not a folder" if path.exists() else "no such folder"


def validation_table(run: Path) -> Path | None:
    """The first of the run's validation tables that is there; None where there is none."""
    config = recipe_file(run)
    tables = [*(validation_tables(config) if config else ()), run / "data" / "val.parquet"]
    return next((table for table in tables if table.is_file()), None)
