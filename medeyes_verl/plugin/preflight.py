"""What can be known to be wrong with a run from its configuration alone: no weights, no Ray, seconds.

Asked in three places: by a recipe's run before Ray starts (the Hydra callback that ``config/medeyes/base.yaml``
installs), by our trainer when it is made (a run without a recipe), and by ``medeyes-verl doctor``. A setting that would
be ignored is a problem like one that would fail.
"""

from collections.abc import Callable, Iterator
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from medeyes_verl.config.settings import (
    ROLLOUT,
    RolloutSettings,
    data_settings,
    dual_stream_settings,
    reward_settings,
    rollout_settings,
)
from medeyes_verl.plugin.demonstration_inputs import LOOP_NAME as DEMONSTRATIONS
from medeyes_verl.plugin.demonstration_inputs import demonstration_problems
from medeyes_verl.plugin.machine import machine_problems
from medeyes_verl.plugin.preflight_imports import import_problems
from medeyes_verl.plugin.preflight_inputs import input_problems, reward_function_problems
from medeyes_verl.plugin.preflight_rules import rule_problems
from medeyes_verl.plugin.problem import Problem, value_of
from medeyes_verl.plugin.streams import OUR_MODES, TRAINER_MODES, knows_streams
from medeyes_verl.settings.reader import SettingError

OURS = "medeyes_dual_stream"
ESTIMATOR, LOSS = "algorithm.adv_estimator", "actor_rollout_ref.actor.policy_loss.loss_mode"
MODE, LOOP = "trainer.v1.trainer_mode", "actor_rollout_ref.rollout.agent.default_agent_loop"
MANAGER = "reward.reward_manager.name"
STOCK_LOOPS = ("single_turn_agent", "tool_agent")
"""veRL's own: they replay no experts and leave no trace."""
FOLDERS = ("data", "model", "output")
MARKS = ("rules",)
"""Keys below ``medeyes`` that recipes fill in."""
LEGACY = {
    "custom_reward_function": "reward.custom_reward_function",
    "reward_model": "reward.reward_manager, reward.num_workers or reward.reward_model",
    "sandbox_fusion": "reward.sandbox_fusion",
}
"""Groups from before veRL moved them below ``reward``; its V1 entry point does not read them. With their successors."""
NEEDED = ("data.train_files", "data.val_files", "actor_rollout_ref.model.path", "trainer.device")


class PreflightError(ValueError):
    """A run is refused; the message says every problem with its remedy."""


class PreflightCallback(Callback):
    """Ends a recipe's run before Ray starts. Hydra turns exceptions of callbacks into warnings, but not SystemExit."""

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        # what the machine lacks matters only to a run whose configuration is sound
        if problems := preflight(config) or list(machine_problems(config)):
            raise SystemExit(said(problems))


def preflight(config: DictConfig, tables: bool = True) -> list[Problem]:
    """Return the problems of a composed veRL configuration, most basic first.

    Args:
        config: as Hydra composes it for main_ppo.
        tables: also read the tables' rows (without their images): seconds for a hundred thousand.
    """
    unresolved = list(_unresolved(config))
    if unresolved:
        return unresolved
    settings = _settings(config)
    if not isinstance(settings, RolloutSettings):
        return [*settings, *_of_trainer(config)]
    return [
        *_unknown_keys(config),
        *_of_trainer(config),
        *objective_problems(config, settings),
        *rule_problems(config, settings),
        *_of_distillation(config),
        *_of_loop(config, settings),
        *demonstration_problems(config, settings, tables),
        *_of_reward(config),
        *reward_function_problems(config),
        *import_problems(config, settings),
        *input_problems(config, settings, tables),
    ]


def refuse_problems(problems: list[Problem]) -> None:
    """Raise PreflightError unless there are none."""
    if problems:
        raise PreflightError(said(problems))


def said(problems: list[Problem]) -> str:
    """All problems as one message for a person."""
    lines = [f"medeyes_verl refuses to start this run ({len(problems)} problem{'s' * (len(problems) > 1)}):"]
    return "\n".join(lines + [f"{i}. {problem}" for i, problem in enumerate(problems, 1)])


def _unresolved(config: DictConfig) -> Iterator[Problem]:
    for key in NEEDED:
        try:
            value_of(config, key)
        except OmegaConfBaseException as error:
            missing = str(error).splitlines()[0]
            yield Problem(key, None, missing, f"set what it names, for {key}")
            return


def _settings(config: DictConfig) -> RolloutSettings | list[Problem]:
    """Our typed settings, or why they cannot be read."""
    problems = []
    found = None
    readers: tuple[Callable[[DictConfig], object], ...] = (
        rollout_settings,
        lambda whole: dual_stream_settings(whole.algorithm),
        reward_settings,
        lambda whole: data_settings(whole.data),
    )
    for read in readers:
        try:
            read_settings = read(config)
        except SettingError as error:
            problems.append(Problem(error.key, error.value, error.reason, "correct or remove the setting"))
        else:
            found = read_settings if isinstance(read_settings, RolloutSettings) else found
    if problems or found is None:
        return problems
    return found


def _unknown_keys(config: DictConfig) -> Iterator[Problem]:
    for key in value_of(config, "medeyes") or {}:
        if key not in (*FOLDERS, *MARKS):
            yield Problem(
                f"medeyes.{key}", config.medeyes[key], "there is no such key", f"known are {', '.join(FOLDERS)}"
            )
    for group, successor in LEGACY.items():
        for key, value in _leaves(group, value_of(config, group)):
            yield Problem(key, value, "veRL's V1 trainer ignores it", f"set {successor} instead")


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, below in value.items():
            yield from _leaves(f"{key}.{name}", below)
    elif value is not None:
        yield key, value


def _of_trainer(config: DictConfig) -> Iterator[Problem]:
    if not value_of(config, "trainer.use_v1"):
        yield Problem("trainer.use_v1", False, "streams exist in veRL's V1 trainer only", "set trainer.use_v1=true")


def objective_problems(config: DictConfig, settings: RolloutSettings | None = None) -> list[Problem]:
    """Return what does not fit between streams, trainer mode, advantage estimator and policy loss.

    Args:
        settings: None where expert rows are known to be there, whoever made them.
    """
    estimator, loss, mode = (value_of(config, key) for key in (ESTIMATOR, LOSS, MODE))
    both = f"set {ESTIMATOR}={OURS} and {LOSS}={OURS}"
    experts = settings is None or settings.n_expert > 0
    if not knows_streams(config):
        grpo = f"or {ESTIMATOR}=grpo {LOSS}=vanilla {ROLLOUT}.n_expert=0 for plain GRPO"
        wanted = {ESTIMATOR: estimator == OURS, LOSS: loss == OURS, f"{ROLLOUT}.n_expert": experts}
        needing = [key for key, needs in wanted.items() if needs]
        if not needing:
            return []
        reason = f"this trainer does not say which rows are experts', which {', '.join(needing)} need"
        return [Problem(MODE, mode, reason, f"set {OUR_MODES}, {grpo}")]
    if (estimator == OURS) != (loss == OURS):
        key, value = (LOSS, loss) if estimator == OURS else (ESTIMATOR, estimator)
        return [Problem(key, value, f"estimator and loss {OURS} work together only", both)]
    if experts and estimator != OURS:
        reason = "there are expert rows, which it would treat as the policy's own"
        return [Problem(ESTIMATOR, estimator, reason, both)]
    return []


def _of_distillation(config: DictConfig) -> Iterator[Problem]:
    if value_of(config, "distillation.enabled") and value_of(config, MODE) in TRAINER_MODES:
        yield Problem(
            "distillation.enabled",
            True,
            f"the loss {OURS} takes the place of veRL's distillation loss, and the teacher's estimate holds for tokens "
            "that the policy sampled, not for experts'",
            f"set it to false; or distil without experts: {MODE}=sync {ESTIMATOR}=grpo {LOSS}=vanilla "
            f"{ROLLOUT}.n_expert=0",
        )


def _of_loop(config: DictConfig, settings: RolloutSettings) -> Iterator[Problem]:
    loop = value_of(config, LOOP)
    if loop in STOCK_LOOPS and settings.n_expert:
        yield Problem(
            f"{ROLLOUT}.n_expert",
            settings.n_expert,
            f"the agent loop {loop} replays no experts",
            f"set it to 0 (and rollout.n to the rollouts you want), or {LOOP}=medeyes_gaze",
        )


def _of_reward(config: DictConfig) -> Iterator[Problem]:
    if value_of(config, MANAGER) != "MedEyesRewardManager":
        return
    settings = reward_settings(config)
    function = value_of(config, "reward.custom_reward_function.path")
    loop = value_of(config, LOOP)
    if loop == DEMONSTRATIONS:
        loop = rollout_settings(config).demonstrations.loop
    if loop in STOCK_LOOPS and settings.needs_trace:
        yield Problem(
            MANAGER,
            "MedEyesRewardManager",
            f"it scores the trace that the loop medeyes_gaze leaves, and {loop} leaves none",
            "set reward.reward_manager.source=register reward.reward_manager.name=naive; or name "
            "reward.custom_reward_function.path and set the weights of reward.medeyes but custom_weight to 0",
        )
    if not settings.needs_trace and not (function and settings.custom_weight):
        reason = "no part of the reward has a weight, so every reward would be 0"
        yield Problem("reward.medeyes", None, reason, "set a weight above 0, or reward.custom_reward_function.path")
    if value_of(config, "reward.reward_model.enable") and not (
        function and value_of(config, "reward.reward_model.enable_resource_pool")
    ):
        yield Problem(
            "reward.reward_model.enable",
            True,
            "veRL then asks the reward model alone, and MedEyesRewardManager is not called or gets no rows' columns",
            "call the model from reward.custom_reward_function with reward.reward_model.enable_resource_pool=true",
        )
