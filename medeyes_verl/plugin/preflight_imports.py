"""Problems with what a configuration names by import path: each is loaded and checked before Ray starts."""

from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import DictConfig

from medeyes_verl.config.settings import RolloutSettings, reward_settings
from medeyes_verl.import_path import ImportPathError
from medeyes_verl.plugin.problem import Problem
from medeyes_verl.reward.parts import load_parts


def import_problems(config: DictConfig, settings: RolloutSettings) -> Iterator[Problem]:
    """Yield what cannot be loaded or has another signature than it needs."""
    loads: list[Callable[[], Any]] = [lambda: load_parts(reward_settings(config).parts)]
    for load in loads:
        try:
            load()
        except ImportPathError as error:
            yield Problem(error.key, error.path, error.reason, error.remedy)
