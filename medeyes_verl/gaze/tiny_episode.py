"""The tiny policy's episode settings, as the recipe `tiny` states them.

The recipe's file is their one definition: main_ppo composes it, and everything outside a composed run (the tiny
policy's processor and warm-up, the presets of experts, tests) reads it here, so that none can differ from training.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

import medeyes_verl
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.settings.reader import read

RECIPE = Path(medeyes_verl.__file__).parent / "config" / "medeyes" / "tiny.yaml"
KEY = "actor_rollout_ref.rollout.custom.medeyes.episode"


@cache
def tiny_episode() -> EpisodeSettings:
    """Read the episode settings of the recipe `tiny`. Raises ValueError where its file was changed and does not fit."""
    return read(EpisodeSettings, tiny_keys(), KEY, origin=str(RECIPE))


def tiny_keys() -> dict[str, Any]:
    """Return the same as the recipe's keys, for another configuration."""
    node = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    for name in KEY.split("."):
        node = node[name]
    return dict(node)
