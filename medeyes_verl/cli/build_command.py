"""How `medeyes-verl experts build` gets its settings: a YAML file, KEY=VALUE, and a handful of options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from typer.core import TyperCommand

from medeyes_verl.expert.build_settings import BuildSettings, read_build
from medeyes_verl.settings.reader import SettingError, keys_of
from medeyes_verl.settings.sources import load_yaml, overlaid

RENAMED = {"pictures": "images", "side": "max_pixels", "policy": "episode"}
"""Options of before there was a configuration file, whose keys have other names."""


class BuildCommand(TyperCommand):
    """The command `experts build`: an option that there is not is answered with the key to set."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            refused: Any = error  # click's NoSuchOption, of which typer carries a copy without a public name
            if type(error).__name__ == "NoSuchOption" and (keys := keys_for(refused.option_name)):
                refused.message += f"; set {' or '.join(keys)}: as KEY=VALUE after the options, or in --config"
                refused.possibilities = None
            raise


def keys_for(option: str) -> list[str]:
    """The keys or sections of a build that an option such as --max-gazes may mean."""
    name = option.lstrip("-").replace("-", "_").removeprefix("no_")
    name = RENAMED.get(name, name)
    paths = [key.split(".") for key in keys_of(BuildSettings)]
    return list(dict.fromkeys(".".join(path[: path.index(name) + 1]) for path in paths if name in path))


def build_settings(config: Path | None, overrides: list[str], options: Mapping[str, Any]) -> BuildSettings:
    """Read the settings of a build.

    Args:
        config: a YAML file, or none.
        overrides: KEY=VALUE each, laid over the file.
        options: values by key, laid over both; None where an option was not given.

    Raises:
        ValueError: the file is not readable, a key is given twice, or a setting cannot be used.
    """
    given = {
        key: str(value) if isinstance(value, Path) else value for key, value in options.items() if value is not None
    }
    for key in (override.partition("=")[0] for override in overrides):
        if key in given:
            raise ValueError(f"{key} is given twice, as an option and as {key}=…: give it once")
    origin = "" if config is None else str(config)
    merged = overlaid(OmegaConf.create() if config is None else load_yaml(config), overrides, given, origin)
    try:
        return read_build(merged, origin)
    except SettingError as error:
        if error.key in ("data", "store") and error.key not in merged:
            raise ValueError(f"{error.key} is required: give --{error.key}, or set the key in --config") from error
        raise
