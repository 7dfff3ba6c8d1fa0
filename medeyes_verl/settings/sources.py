"""Where settings come from: a node of a Hydra configuration, or a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
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


def read_yaml(file: Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """The mapping in a YAML file, with `key.below=value` overrides laid over it.

    Raises:
        ValueError: the file is not readable, or holds no mapping; or an override is malformed.
    """
    try:
        config = OmegaConf.load(file)
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error
    except (YAMLError, UnicodeDecodeError, OmegaConfBaseException) as error:
        raise ValueError(f"{file}: not readable as YAML ({' '.join(str(error).split())})") from error
    if not OmegaConf.is_dict(config):
        raise ValueError(f"{file}: holds no mapping of settings")
    return overlaid(config, overrides or [], str(file))


def overlaid(config: Any, overrides: list[str], origin: str = "") -> dict[str, Any]:
    """A configuration with `key.below=value` overrides laid over it, as plain values. Raises ValueError."""
    for override in overrides:
        key, equals, value = override.partition("=")
        if not (key and equals):
            raise ValueError(f"{override!r} is no override: write KEY=VALUE")
        try:
            config = OmegaConf.merge(config, OmegaConf.from_dotlist([f"{key}={value}"]))
        except (YAMLError, OmegaConfBaseException) as error:
            raise ValueError(f"{override}: {' '.join(str(error).split())}") from error
    try:
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise SettingError(error.full_key or "", None, str(error).splitlines()[0], origin) from error
