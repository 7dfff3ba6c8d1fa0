"""Where settings come from: a node of a Hydra configuration, or a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from medeyes_verl.settings.reader import SettingError, read

T = TypeVar("T")


def read_node(schema: type[T], node: Any, where: str) -> T:
    """Read the settings of a configuration's node, interpolations resolved; None: all defaults.

    Raises:
        SettingError: as `read`, and for an interpolation that leads nowhere.
    """
    return read(schema, {} if node is None else plain(node, where), where)


def plain(node: Any, where: str) -> Any:
    """A configuration's node as plain Python values, interpolations resolved. Raises SettingError."""
    if not OmegaConf.is_config(node):
        return node
    try:
        return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise SettingError(error.full_key or where, None, str(error).splitlines()[0]) from error


def load_yaml(file: Path) -> DictConfig:
    """Load a YAML file that holds a mapping. Raises ValueError naming the file."""
    try:
        config = OmegaConf.load(file)
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error
    except (YAMLError, UnicodeDecodeError, OmegaConfBaseException) as error:
        raise ValueError(f"{file}: not readable as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(config, DictConfig):
        raise ValueError(f"{file}: holds no mapping of settings")
    return config


def overlaid(config: DictConfig, overrides: list[str], values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """A configuration as plain values, with others laid over it.

    Args:
        overrides: KEY=VALUE each, the value as YAML has it.
        values: more of them, by dotted key.
        origin: the configuration's file, for errors.

    Raises:
        ValueError: an override is malformed.
        SettingError: an interpolation leads nowhere.
    """
    merged = config.copy()
    for override in overrides:
        key, equals, _ = override.partition("=")
        try:
            if not (key and equals):
                raise ValueError("write KEY=VALUE")
            merged.merge_with_dotlist([override])
        except (ValueError, YAMLError, OmegaConfBaseException) as error:
            raise ValueError(f"{override}: {' '.join(str(error).split())}") from error
    for key, value in values.items():
        OmegaConf.update(merged, key, value)
    try:
        return OmegaConf.to_container(merged, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise SettingError(error.full_key or "", None, str(error).splitlines()[0], origin) from error
