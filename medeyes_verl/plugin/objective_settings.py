"""``algorithm.medeyes`` of a veRL configuration, typed; a file of its own because every actor process reads it."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from medeyes_verl.algorithm.settings import DualStreamSettings


def dual_stream_settings(algorithm_config: Any) -> DualStreamSettings:
    """Read and check ``algorithm.medeyes``; absent keys are the paper's. Raises ValueError."""
    given = (algorithm_config or {}).get("medeyes") or {}
    return DualStreamSettings.from_mapping(
        OmegaConf.to_container(given, resolve=True) if isinstance(given, DictConfig) else given
    )
