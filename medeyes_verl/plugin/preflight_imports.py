"""Problems with what a configuration names by import path or as prompt templates: checked before Ray starts."""

from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import DictConfig

from medeyes_verl.config.settings import ROLLOUT, RolloutSettings, reward_settings
from medeyes_verl.expert.oracles.own import oracle_maker
from medeyes_verl.import_path import ImportPathError, is_import_path
from medeyes_verl.plugin.problem import Problem
from medeyes_verl.prompts.templates import PromptError, check_folder
from medeyes_verl.reward.parts import load_parts


def import_problems(config: DictConfig, settings: RolloutSettings) -> Iterator[Problem]:
    """Yield what cannot be loaded or has another signature than it needs."""
    loads: list[Callable[[], Any]] = [lambda: load_parts(reward_settings(config).parts)]
    live = settings.live
    if live.oracle is not None and is_import_path(live.oracle):
        oracle = live.oracle
        loads.append(lambda: oracle_maker(oracle, f"{ROLLOUT}.live.oracle", live.oracle_settings))
    folder = settings.episode.prompts
    try:
        check_folder(folder, "system_prompt.j2", unused=not settings.system_prompt)
    except PromptError as error:
        yield Problem(f"{ROLLOUT}.episode.prompts", folder, str(error), "correct it; docs/extend.md lists the files")
    for load in loads:
        try:
            load()
        except ImportPathError as error:
            yield Problem(error.key, error.path, error.reason, error.remedy)
