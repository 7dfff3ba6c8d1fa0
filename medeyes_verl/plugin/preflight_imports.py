"""Problems with what a configuration names by import path or as prompt templates: checked before Ray starts."""

from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import DictConfig

from medeyes_verl.config.settings import ROLLOUT, RolloutSettings, reward_settings
from medeyes_verl.expert.oracles.own import oracle_maker
from medeyes_verl.gaze.tool import load_tools, most_observations
from medeyes_verl.import_path import ImportPathError, is_import_path
from medeyes_verl.plugin.problem import Problem, value_of
from medeyes_verl.prompts.templates import PromptError, check_folder
from medeyes_verl.reward.parts import load_parts

LIMIT = "actor_rollout_ref.rollout.engine_kwargs.vllm.limit_mm_per_prompt"


def import_problems(config: DictConfig, settings: RolloutSettings) -> Iterator[Problem]:
    """Yield what cannot be loaded or has another signature than it needs."""
    loads: list[Callable[[], Any]] = [lambda: load_parts(reward_settings(config).parts)]
    live = settings.live
    if live.oracle is not None and is_import_path(live.oracle):
        oracle = live.oracle
        loads.append(lambda: oracle_maker(oracle, f"{ROLLOUT}.live.oracle", live.oracle_settings))
    loads.append(lambda: load_tools(settings.episode.tools))
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
    yield from _of_tools(config, settings)


def _of_tools(config: DictConfig, settings: RolloutSettings) -> Iterator[Problem]:
    """Yield where tools of the user's do not go together with the rest of a run."""
    key = f"{ROLLOUT}.episode.tools"
    rules = settings.episode
    if not rules.tools:
        return
    if settings.n_expert and settings.off_policy_source != "experts":
        source = settings.off_policy_source
        yield Problem(
            f"{ROLLOUT}.off_policy_source",
            source,
            f"a stored trajectory holds gazes alone, and with {key} the policy's successes hold calls as well",
            f"set {ROLLOUT}.off_policy_source=experts, or remove {key}",
        )
    try:
        most = 1 + most_observations(rules)
    except ImportPathError:
        return  # named above
    limit = value_of(config, f"{LIMIT}.image")
    if limit is not None and limit < most:
        reason = (
            f"an episode of one image can have {most} images, with {rules.max_gazes} gazes and the free calls of {key}"
        )
        yield Problem(f"{LIMIT}.image", limit, reason, f"set it to {most} or more")
