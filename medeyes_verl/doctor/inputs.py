"""Findings about what a user names: tables, a recipe, a model, a store of experts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from medeyes_verl.doctor import experts
from medeyes_verl.doctor.check import Finding
from medeyes_verl.doctor.recipe import composed
from medeyes_verl.doctor.table import Table
from medeyes_verl.evaluation.tokens import load_tokens
from medeyes_verl.gaze.policy_tokens import PolicyTokens


def table(path: Path, store: Path | None = None) -> Iterator[Finding]:
    """Check a table by itself; its experts are looked up in `store`, by default the folder beside it."""
    checked = Table(path, path.parent)
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
    checked = Table(path, plan.episode.image_root)
    yield from checked.findings()
    yield from experts.taught(checked, plan, _tokens(model))


def recipe_alone(recipe: str, model: str | None, store: Path | None, overrides: Sequence[str]) -> Iterator[Finding]:
    """Check that a recipe composes, and its settings."""
    yield composed(recipe, None, model, store, overrides)[1]


def _tokens(model: str | None) -> PolicyTokens | None:
    """The model's tokens; None without a model, or with one that does not load, which is a finding of its own."""
    if model is None:
        return None
    try:
        return load_tokens(model)
    except ValueError:
        return None
