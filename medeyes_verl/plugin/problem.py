"""One thing that is wrong with a configuration, and how a value of one is read."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf


@dataclass(frozen=True, slots=True)
class Problem:
    """Key, value, reason, remedy. A value of None is not shown: the reason names what there is."""

    key: str
    value: Any
    reason: str
    remedy: str

    def __str__(self) -> str:
        given = self.key if self.value is None else f"{self.key}={self.value}"
        return f"{given}: {self.reason}. Remedy: {self.remedy}."


def value_of(config: Any, key: str) -> Any:
    """A configuration's value, resolved; None where the key is absent. Raises OmegaConf's errors for a missing one."""
    value = OmegaConf.select(config, key, throw_on_missing=True)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def local_files(files: Any) -> Iterator[Path]:
    """The files that a key of veRL's names, one or a list; those on remote storage are veRL's to fetch."""
    for file in [files] if isinstance(files, str) else files or []:
        if "://" not in str(file):
            yield Path(str(file)).expanduser()
