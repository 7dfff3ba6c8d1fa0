"""What an evaluation takes from a training recipe: episode settings, budgets, the scorer, the way to serve.

A recipe is one of the package's own by name (`cpu_tiny`), or the composed configuration of a run, the
`.hydra/config.yaml` that Hydra leaves in its folder. Keys are read by training's own schema, so types, defaults and
errors are training's; keys that concern training alone are not looked at. veRL itself is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import medeyes_verl
from medeyes_verl.config.settings import DATA, ROLLOUT, DataSettings, RolloutSettings, reward_settings
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.gaze.tool import load_tools
from medeyes_verl.policies.server import Serving
from medeyes_verl.prompts.templates import check_folder
from medeyes_verl.reward.compose import RewardSettings
from medeyes_verl.reward.parts import load_parts
from medeyes_verl.settings.reader import Between, SettingError, read, read_value
from medeyes_verl.settings.sources import plain

VERL_ROLLOUT = "actor_rollout_ref.rollout"
PLAYED = ("episode", "turn_tokens", "system_prompt")
"""Keys of RolloutSettings that an evaluation takes."""
CONFIG_FOLDER = Path(medeyes_verl.__file__).parent / "config"
RESPONSE_LENGTH = 512
"""veRL's own default of `data.max_response_length`."""
TINY_VOCABULARY = 8192
"""A vocabulary below this is a policy of this project's own making; published models have 20 times as many."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """An episode as one recipe has it."""

    name: str
    """Its name, or the file it was read from."""
    rules: EpisodeSettings
    """`rollout.custom.medeyes.episode`."""
    system_prompt: bool = True
    """`rollout.custom.medeyes.system_prompt`: the episode is explained before the question."""
    turn_tokens: int = 256
    """`rollout.custom.medeyes.turn_tokens`: most tokens of one turn."""
    response_length: int = RESPONSE_LENGTH
    """`data.max_response_length`: most tokens of all turns and observations."""
    image_root: Path | None = None
    """`data.medeyes.image_root`: where relative image paths begin."""
    reward: RewardSettings = field(default_factory=RewardSettings)
    """`reward.medeyes`."""
    serving: Serving = field(default_factory=Serving)


def read_recipe(name_or_file: str | Path) -> Recipe:
    """A recipe by name, or from a composed YAML file. Raises ValueError naming what cannot be used."""
    name = str(name_or_file)
    config = _from_file(Path(name)) if name.endswith((".yaml", ".yml")) else _by_name(name)
    try:
        return recipe_of(config, name)
    except SettingError as error:
        raise SettingError(error.key, error.value, error.reason, f"recipe {name}") from error


def recipe_of(config: DictConfig, name: str) -> Recipe:
    """What an evaluation needs of a whole configuration; absent keys keep their defaults. Raises SettingError."""
    played = read(RolloutSettings, _given(config, ROLLOUT, PLAYED), ROLLOUT)
    data = read(DataSettings, _given(config, DATA, ("image_root",)), DATA)
    # of veRL's own keys, null means its default
    served = ("max_model_len", "dtype", "enforce_eager", "tensor_model_parallel_size")
    serving = {key: value for key, value in _given(config, VERL_ROLLOUT, served).items() if value is not None}
    serving["kv_cache_memory_bytes"] = _get(config, f"{VERL_ROLLOUT}.engine_kwargs.vllm.kv_cache_memory_bytes")
    length = _get(config, "data.max_response_length")
    return Recipe(
        name=name,
        rules=played.episode,
        system_prompt=played.system_prompt,
        turn_tokens=played.turn_tokens,
        response_length=RESPONSE_LENGTH
        if length is None
        else read_value(Annotated[int, Between(1)], length, "data.max_response_length"),
        image_root=None if data.image_root is None else Path(data.image_root),
        reward=reward_settings(config),
        serving=read(Serving, serving, VERL_ROLLOUT),
    )


def check_own(recipe: Recipe) -> None:
    """Load what a recipe names of the user's own: reward parts, tools, prompts. Raises ValueError."""
    load_parts(recipe.reward.parts)
    load_tools(recipe.rules.tools)
    check_folder(recipe.rules.prompts)


def validation_tables(file: Path) -> list[Path]:
    """The tables a run's configuration validates on: `data.val_files`."""
    named = _get(_from_file(file), "data.val_files", [])
    return [Path(table) for table in ([named] if isinstance(named, str) else named)]


def guess_recipe(model: Path) -> str:
    """The package's recipe for a model folder, by its config.json. Raises ValueError when none is known."""
    try:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"cannot infer a recipe for {model}, which holds no readable config.json; "
            "pass --recipe (for example qwen2_5_vl_3b)"
        ) from error
    kind = config.get("model_type")
    if kind != "qwen2_5_vl":
        raise ValueError(
            f"cannot infer a recipe for {model} (model_type {kind!r}); pass --recipe (for example qwen2_5_vl_3b)"
        )
    vocabulary = config.get("text_config", config).get("vocab_size", 0)
    return "cpu_tiny" if vocabulary < TINY_VOCABULARY else "qwen2_5_vl_3b"


def _by_name(name: str) -> DictConfig:
    try:
        with initialize_config_dir(config_dir=str(CONFIG_FOLDER), version_base=None):
            return compose(overrides=[f"+medeyes={name}"])
    except HydraException as error:
        known = ", ".join(sorted(path.stem for path in (CONFIG_FOLDER / "medeyes").glob("*.yaml")))
        raise ValueError(f"recipe {name!r} is unknown: name one of {known}, or a composed .yaml file") from error


def _from_file(path: Path) -> DictConfig:
    try:
        config = OmegaConf.load(path)
    except Exception as error:  # a missing file, a damaged one, and the YAML reader's own kinds
        raise ValueError(f"{path} is not readable as a configuration: {error}") from error
    if not isinstance(config, DictConfig) or "actor_rollout_ref" not in config or "defaults" in config:
        raise ValueError(f"{path} is no composed configuration: name the .hydra/config.yaml of a run")
    return config


def _given(config: DictConfig, where: str, keys: Sequence[str]) -> Any:
    """Those of the keys of a section that a configuration has."""
    section = OmegaConf.select(config, where)
    if not OmegaConf.is_dict(section):
        return {} if section is None else section  # which is no mapping: `read` names it
    return {key: _get(config, f"{where}.{key}") for key in keys if key in section}


def _get(config: DictConfig, where: str, default: Any = None) -> Any:
    try:
        value = OmegaConf.select(config, where, default=default, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise SettingError(where, None, str(error).splitlines()[0]) from error
    return plain(value, where)
