"""The settings that a user writes below ``actor_rollout_ref.rollout.custom.medeyes`` and ``data.medeyes``, typed.

veRL passes these subtrees through unread. An unknown key or a wrong type is an error that names the key.
"""

from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from medeyes_verl.gaze.episode import EpisodeSettings

T = TypeVar("T")


@dataclass
class RolloutSettings:
    """``actor_rollout_ref.rollout.custom.medeyes``: the episode and its expert stream."""

    episode: dict[str, Any] = field(default_factory=dict)
    """The rules of the game, as EpisodeSettings names them: frame, max_gazes, view.max_pixels, …"""
    turn_tokens: int = 256
    """Most tokens the policy may write in one turn."""
    system_prompt: bool = True
    """Tell the model the rules of the game before the question. Off for a policy warmed up without them."""
    experts: str | None = None
    """Folder of the trajectory store; none: every rollout is the policy's own."""
    n_expert: int = 0
    """Rollouts of a prompt that are expert trajectories; the other ``rollout.n - n_expert`` are the policy's."""
    keep_wrong_experts: bool = False
    """Also replay expert trajectories that end in a wrong answer."""

    def rules(self, processor: Any) -> EpisodeSettings:
        """The episode's rules for a model: picture sides are multiples of its merged visual token's side."""
        image_processor = processor.image_processor
        side = int(image_processor.patch_size) * int(image_processor.merge_size)  # 28: Qwen2.5-VL, 32: Qwen3-VL
        rules = EpisodeSettings.from_mapping(self.episode)
        return replace(rules, view=replace(rules.view, multiple=side), crop=replace(rules.crop, multiple=side))


@dataclass
class DataSettings:
    """``data.medeyes``: where a table's pictures are."""

    image_root: str | None = None
    """Folder that relative picture paths are joined to; none: paths in the table are absolute."""


def rollout_settings(config: DictConfig) -> RolloutSettings:
    """Read and check the rollout settings of a whole veRL configuration.

    Raises:
        ValueError: an unknown key, a wrong type, or streams that do not fit into ``rollout.n``.
    """
    where = "actor_rollout_ref.rollout.custom.medeyes"
    settings = _typed(RolloutSettings, OmegaConf.select(config, where), where)
    EpisodeSettings.from_mapping(settings.episode)
    n = config.actor_rollout_ref.rollout.n
    if not 0 <= settings.n_expert < n:
        raise ValueError(
            f"{where}.n_expert={settings.n_expert} with rollout.n={n}: leave at least one rollout to the policy; "
            "rollout.n counts both streams (the paper: 8 + 6 = 14)"
        )
    if settings.n_expert and settings.experts is None:
        raise ValueError(f"{where}.n_expert={settings.n_expert} but {where}.experts names no trajectory store")
    return settings


def data_settings(data_config: DictConfig) -> DataSettings:
    """Read and check ``data.medeyes``. Raises ValueError on an unknown key or a wrong type."""
    return _typed(DataSettings, OmegaConf.select(data_config, "medeyes"), "data.medeyes")


def _typed(schema: type[T], given: Any, where: str) -> T:
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), given or {})
        return OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise ValueError(f"{where}: {str(error).splitlines()[0]}") from error
