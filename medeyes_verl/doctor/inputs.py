"""Findings about what a user names: tables, a recipe, a model, a store of experts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from medeyes_verl.doctor import experts
from medeyes_verl.doctor.at_load import at_load
from medeyes_verl.doctor.check import Finding
from medeyes_verl.doctor.recipe import Plan, composed
from medeyes_verl.doctor.table import Table
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.plugin.preflight import preflight
from medeyes_verl.policies.chat_conversation import load_tokens


def table(path: Path, store: Path | None = None) -> Iterator[Finding]:
    """Check a table by itself; its experts are looked up in `store`, by default the folder beside it."""
    checked = Table(path, path.parent, at_load)
    yield from checked.findings()
    if checked.expert_ids:
        yield from experts.stored(checked, store or path.parent / "experts")


def table_under_recipe(
    path: Path, recipe: str, model: str | None, store: Path | None, overrides: Sequence[str]
) -> Iterator[Finding]:
    """Check a table as a run of the recipe would use it, and play its experts by the recipe's rules."""
    plan, finding = composed(recipe, path.parent, model, store, overrides)
    yield finding
    if plan is None:
        yield from table(path, store)
        return
    yield from _preflight(recipe, plan)
    checked = Table(path, plan.episode.image_root, at_load)
    yield from checked.findings()
    yield from experts.taught(checked, plan, _tokens(model))


def recipe_alone(recipe: str, model: str | None, store: Path | None, overrides: Sequence[str]) -> Iterator[Finding]:
    """Check that a recipe composes, and its settings."""
    plan, finding = composed(recipe, None, model, store, overrides)
    yield finding
    if plan is not None:
        yield from _preflight(recipe, plan)


def _preflight(recipe: str, plan: Plan) -> Iterator[Finding]:
    """Whether the trainer would refuse the run from its configuration alone; tables are checked here, row by row."""
    subject = f"recipe {recipe}: preflight"
    if OmegaConf.is_missing(plan.config.medeyes, "model"):
        yield Finding(subject, True, "not run, since the recipe names no model: give --model")
        return
    problems = preflight(plan.config, tables=False)
    for problem in problems:
        yield Finding(f"{subject}: {problem.key}", False, f"{problem.value}: {problem.reason}", problem.remedy)
    if not problems:
        yield Finding(subject, True, "nothing that main_ppo would refuse")


def _tokens(model: str | None) -> PolicyTokens | None:
    """The model's tokens; None without a model, or with one that does not load, which is a finding of its own."""
    if model is None:
        return None
    try:
        return load_tokens(model)
    except ValueError:
        return None
