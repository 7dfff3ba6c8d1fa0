"""The settings that a user writes below the keys of `SETTINGS`, typed.

veRL passes these subtrees through unread. An unknown key or a wrong type is an error that names the key.
``config/medeyes/base.yaml`` declares every one of them with its default, so that all are set without Hydra's ``+``.
"""

from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from medeyes_verl.algorithm.settings import DualStreamSettings
from medeyes_verl.expert.replay import OffPolicySource, ReplaySettings
from medeyes_verl.gaze.crop import PixelBounds
from medeyes_verl.gaze.episode import EpisodeSettings
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.reward.compose import RewardSettings

T = TypeVar("T")


@dataclass
class LiveSettings:
    """``….live``: make an expert trajectory during rollout where the store has none for a question."""

    oracle: str | None = None
    """``annotations`` (the regions in the table), ``endpoint`` (an OpenAI-compatible server), or none: make none."""
    preset: str = "paper"
    """How the expert looks: ``paper`` or ``tiny``."""
    url: str = ""
    """Where the endpoint takes chat completions."""
    model: str = ""
    """The endpoint's model."""
    time_limit: float = 30.0
    """Seconds a rollout waits; a later trajectory is stored for the next time."""
    seed: int = 0


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
    """Rollouts of a prompt that are off-policy trajectories; the other ``rollout.n - n_expert`` are the policy's."""
    off_policy_source: str = "experts"
    """Where those come from: ``experts`` (the store), ``replay`` (the policy's past successes), or ``mixed``."""
    replay: dict[str, Any] = field(default_factory=dict)
    """What is kept of past successes: per_question, capacity, order (recency or reward), min_reward."""
    live: LiveSettings = field(default_factory=LiveSettings)
    keep_wrong_experts: bool = False
    """Also replay expert trajectories that end in a wrong answer."""

    def rules(self, tokens: PolicyTokens) -> EpisodeSettings:
        """The episode's rules for a model."""
        return tokens.rules(EpisodeSettings.from_mapping(self.episode))


@dataclass
class DataSettings:
    """``data.medeyes``: where a table's pictures are."""

    image_root: str | None = None
    """Folder that relative picture paths are joined to; none: paths in the table are absolute."""


ROLLOUT = "actor_rollout_ref.rollout.custom.medeyes"
SETTINGS: dict[str, type] = {
    ROLLOUT: RolloutSettings,
    f"{ROLLOUT}.episode": EpisodeSettings,
    f"{ROLLOUT}.episode.view": PixelBounds,
    f"{ROLLOUT}.episode.crop": PixelBounds,
    f"{ROLLOUT}.replay": ReplaySettings,
    f"{ROLLOUT}.live": LiveSettings,
    "algorithm.medeyes": DualStreamSettings,
    "reward.medeyes": RewardSettings,
    "data.medeyes": DataSettings,
}
"""The class whose fields are the keys below each of our subtrees."""
OF_THE_MODEL = (f"{ROLLOUT}.episode.view.multiple", f"{ROLLOUT}.episode.crop.multiple")
"""Fields that are no keys: the model's processor decides them."""


def rollout_settings(config: DictConfig) -> RolloutSettings:
    """Read and check the rollout settings of a whole veRL configuration.

    Raises:
        ValueError: an unknown key, a wrong type, or streams that do not fit into ``rollout.n``.
    """
    where = ROLLOUT
    settings = _typed(RolloutSettings, OmegaConf.select(config, where), where)
    EpisodeSettings.from_mapping(settings.episode)
    for name in ("view", "crop"):
        if "multiple" in settings.episode.get(name, {}):
            raise ValueError(
                f"{where}.episode.{name}.multiple={settings.episode[name]['multiple']}: the model's processor decides "
                "it (28 for Qwen2.5-VL, 32 for Qwen3-VL); remove the key"
            )
    n = config.actor_rollout_ref.rollout.n
    if not 0 <= settings.n_expert < n:
        raise ValueError(
            f"{where}.n_expert={settings.n_expert} with rollout.n={n}: leave at least one rollout to the policy; "
            "rollout.n counts both streams (the paper: 8 + 6 = 14)"
        )
    if settings.off_policy_source not in get_args(OffPolicySource):
        known = ", ".join(get_args(OffPolicySource))
        raise ValueError(f"{where}.off_policy_source={settings.off_policy_source!r}: use one of {known}")
    if settings.n_expert and settings.off_policy_source == "experts" and settings.experts is None:
        raise ValueError(f"{where}.n_expert={settings.n_expert} but {where}.experts names no trajectory store")
    if settings.live.oracle not in (None, "annotations", "endpoint"):
        raise ValueError(f"{where}.live.oracle={settings.live.oracle!r}: use annotations or endpoint")
    if settings.live.oracle is not None and settings.experts is None:
        raise ValueError(f"{where}.live.oracle needs {where}.experts, the store that keeps what is made")
    if settings.live.oracle == "endpoint" and not (settings.live.url and settings.live.model):
        raise ValueError(f"{where}.live.oracle=endpoint needs {where}.live.url and {where}.live.model")
    replay_settings(settings)
    return settings


def replay_settings(settings: RolloutSettings) -> ReplaySettings:
    """``….replay``. Raises ValueError on an unknown key or a value that makes no sense."""
    try:
        return ReplaySettings(**settings.replay)
    except TypeError as error:
        raise ValueError(f"{ROLLOUT}.replay: {error}") from error


def reward_settings(config: DictConfig) -> RewardSettings:
    """Read and check ``reward.medeyes``; absent keys are the paper's. Raises ValueError."""
    given = OmegaConf.select(config, "reward.medeyes") or {}
    return RewardSettings.from_mapping(OmegaConf.to_container(given, resolve=True) if given else {})


def data_settings(data_config: DictConfig) -> DataSettings:
    """Read and check ``data.medeyes``. Raises ValueError on an unknown key or a wrong type."""
    return _typed(DataSettings, OmegaConf.select(data_config, "medeyes"), "data.medeyes")


def _typed(schema: type[T], given: Any, where: str) -> T:
    try:
        plain = {} if given is None else OmegaConf.to_container(given, resolve=True)  # interpolations leave the subtree
        merged = OmegaConf.merge(OmegaConf.structured(schema), plain)
        return OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise ValueError(f"{where}.{error.full_key}: {str(error).splitlines()[0]}") from error
