"""A recipe as main_ppo would compose it, and the settings that decide what an expert teaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from medeyes_verl.algorithm.settings import DualStreamSettings
from medeyes_verl.config.settings import RolloutSettings, dual_stream_settings, rollout_settings
from medeyes_verl.doctor.check import Finding
from medeyes_verl.evaluation.recipe import CONFIG_FOLDER, Recipe, recipe_of

ESTIMATOR = "medeyes_dual_stream"


@dataclass(frozen=True, slots=True)
class Plan:
    """What of a composed run the checks of data and experts need."""

    name: str
    """As main_ppo is given it: `+medeyes=[…]`."""
    config: DictConfig
    rollout: RolloutSettings
    episode: Recipe
    dual_stream: DualStreamSettings
    n_policy: int
    """Rollouts of a prompt that are the policy's own."""
    normalise_by_std: bool
    max_prompt_length: int

    @property
    def estimates_advantages(self) -> bool:
        """Whether our estimator makes the advantages; another one's rule is not known here."""
        return bool(self.config.algorithm.adv_estimator == ESTIMATOR)


def plan(recipe: str, data: Path | None, model: str | None, store: Path | None, overrides: Sequence[str]) -> Plan:
    """Compose `recipe` ("qwen2_5_vl_3b,recommended") with veRL's own configuration, as main_ppo does.

    `data` is the folder of the tables; `overrides` are more of Hydra's, as main_ppo takes them. Raises ValueError,
    with what is wrong with the recipe, an override or a setting.
    """
    from hydra import compose, initialize_config_module

    names = [name.strip() for name in recipe.strip("[] ").split(",") if name.strip()]
    choice = f"+medeyes=[{','.join(names)}]"
    # without a table there is no folder to name; nothing is read from this one
    given = [choice, f"medeyes.data={_quoted(data if data is not None else Path('data'))}"]
    if model is not None:
        given.append(f"medeyes.model={_quoted(model)}")
    if store is not None:
        given.append(f"actor_rollout_ref.rollout.custom.medeyes.experts={_quoted(store)}")
    try:
        with initialize_config_module(config_module="verl.trainer.config", version_base=None):
            config = compose("ppo_trainer", overrides=[*given, *overrides])
        rollout = rollout_settings(config)
        return Plan(
            name=choice,
            config=config,
            rollout=rollout,
            episode=recipe_of(config, choice),
            dual_stream=dual_stream_settings(config.algorithm),
            n_policy=config.actor_rollout_ref.rollout.n - rollout.n_expert,
            normalise_by_std=bool(config.algorithm.get("norm_adv_by_std_in_grpo", True)),
            max_prompt_length=int(config.data.max_prompt_length),
        )
    except Exception as error:  # Hydra's, OmegaConf's, ours, and whatever a broken plugin raises
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise ValueError(f"{type(error).__name__}: {' '.join(lines[:2])}") from error


def composed(recipe: str, *args: Any) -> tuple[Plan | None, Finding]:
    """`plan` as a finding; None where the recipe does not compose."""
    try:
        made = plan(recipe, *args)
    except ValueError as error:
        known = ", ".join(sorted(path.stem for path in (CONFIG_FOLDER / "medeyes").glob("*.yaml")))
        remedy = f"correct the key that is named; recipes are {known}"
        return None, Finding(f"recipe {recipe} composes", False, str(error), remedy)
    rule = made.dual_stream.off_policy_baseline
    seen = f"{made.n_policy} rollouts and {made.rollout.n_expert} experts a prompt, off_policy_baseline={rule}"
    return made, Finding(f"recipe {recipe} composes", True, seen)


def _quoted(value: object) -> str:
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
