"""What an evaluation takes from a training recipe: the rules of the game, the budgets, the scorer, the way to serve.

A recipe is one of the package's own by name (`cpu_tiny`), or the composed configuration of a run, the
`.hydra/config.yaml` that Hydra leaves in its folder. Only the keys below are read; veRL itself is not needed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import medeyes_verl
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.policies.server import Serving
from medeyes_verl.reward.compose import RewardSettings

ROLLOUT = "actor_rollout_ref.rollout"
CONFIG_FOLDER = Path(medeyes_verl.__file__).parent / "config"
TINY_VOCABULARY = 8192
"""A vocabulary below this is a policy of this project's own making; published models have 20 times as many."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The game as one recipe plays it."""

    name: str
    """Its name, or the file it was read from."""
    rules: EpisodeSettings
    """`rollout.custom.medeyes.episode`."""
    system_prompt: bool = True
    """`rollout.custom.medeyes.system_prompt`: the rules in words come before the question."""
    turn_tokens: int = 256
    """`rollout.custom.medeyes.turn_tokens`: most tokens of one turn."""
    response_length: int = 512
    """`data.max_response_length`: most tokens of all turns and observations."""
    image_root: Path | None = None
    """`data.medeyes.image_root`: where relative picture paths begin."""
    reward: RewardSettings = field(default_factory=RewardSettings)
    """`reward.medeyes`."""
    serving: Serving = field(default_factory=Serving)


def read_recipe(name_or_file: str | Path) -> Recipe:
    """A recipe by name, or from a composed YAML file. Raises ValueError naming what cannot be used."""
    name = str(name_or_file)
    config = _from_file(Path(name)) if name.endswith((".yaml", ".yml")) else _by_name(name)
    try:
        return recipe_of(config, name)
    except (OmegaConfBaseException, TypeError) as error:
        raise ValueError(f"recipe {name}: {str(error).splitlines()[0]}") from error


def recipe_of(config: DictConfig, name: str) -> Recipe:
    """What an evaluation needs of a whole configuration; absent keys keep the defaults above."""
    game: dict[str, Any] = {
        "rules": EpisodeSettings.from_mapping(_get(config, f"{ROLLOUT}.custom.medeyes.episode", {}))
    }
    for key, where in (
        ("system_prompt", f"{ROLLOUT}.custom.medeyes.system_prompt"),
        ("turn_tokens", f"{ROLLOUT}.custom.medeyes.turn_tokens"),
        ("response_length", "data.max_response_length"),
        ("image_root", "data.medeyes.image_root"),
    ):
        if (value := _get(config, where)) is not None:
            game[key] = Path(value) if key == "image_root" else value
    serving = {
        key: value
        for key in ("max_model_len", "dtype", "enforce_eager", "tensor_model_parallel_size")
        if (value := _get(config, f"{ROLLOUT}.{key}")) is not None
    }
    cache = _get(config, f"{ROLLOUT}.engine_kwargs.vllm.kv_cache_memory_bytes")
    return Recipe(
        name=name,
        reward=RewardSettings.from_mapping(_get(config, "reward.medeyes", {})),
        serving=Serving(**serving, kv_cache_memory_bytes=cache),
        **game,
    )


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


def _get(config: DictConfig, where: str, default: Any = None) -> Any:
    value = OmegaConf.select(config, where, default=default)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
