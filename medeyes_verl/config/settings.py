"""The schema of this project's keys in a run's configuration: `SECTIONS`, typed.

veRL passes these sections through unread. Training, evaluation and doctor read them here. ``medeyes/base.yaml``
declares every key with its default, so that each is set without Hydra's ``+``. docs/settings.md is made
from the schema.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf

from medeyes_verl.algorithm.settings import DualStreamSettings
from medeyes_verl.expert.framing import PresetName
from medeyes_verl.expert.replay import OffPolicySource, ReplaySettings
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.import_path import is_import_path
from medeyes_verl.reward.compose import RewardSettings
from medeyes_verl.settings.reader import Between, SettingError, check, shown
from medeyes_verl.settings.sources import read_node


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSettings:
    """Make an expert trajectory during rollout where the store has none for a question."""

    oracle: str | None = None
    """`annotations` (the regions in the table), `endpoint` (an OpenAI-compatible server), or PATH:NAME, a class of your
    own (docs/extend.md); null: make none."""
    oracle_settings: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of an oracle of your own."""
    preset: PresetName = "paper"
    """How the expert looks and speaks."""
    url: str = ""
    """Where the endpoint takes chat completions."""
    model: str = ""
    """The endpoint's model."""
    time_limit: Annotated[float, Between(0)] = 30.0
    """Seconds a rollout waits; a later trajectory is stored for the next time."""
    seed: int = 0
    """The same seed, question and oracle answers give the same trajectories."""

    def __post_init__(self) -> None:
        check(self)
        own = self.oracle is not None and is_import_path(self.oracle)
        if self.oracle not in (None, "annotations", "endpoint") and not own:
            reason = "use annotations, endpoint, or PATH:NAME of your own (my_oracle.py:MyOracle)"
            raise SettingError("oracle", shown(self.oracle), reason)
        if self.oracle_settings and not own:
            reason = f"is for an oracle of your own (PATH:NAME), and live.oracle is {self.oracle}"
            raise SettingError("oracle_settings", shown(self.oracle_settings), reason)
        for key, value in (("url", self.url), ("model", self.model)):
            if self.oracle == "endpoint" and not value:
                raise SettingError(key, shown(value), "live.oracle=endpoint needs it")
            if self.oracle != "endpoint" and value:
                raise SettingError(key, shown(value), "only live.oracle=endpoint reads it; set that, or remove it")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemonstrationSettings:
    """Demonstrations from a column of the table, for the agent loop `medeyes_demonstrations`."""

    column: str | None = None
    """The column: text, messages or token ids, one demonstration or several a row; null: there is none."""
    loop: str = "single_turn_agent"
    """The registered agent loop that runs every session, the demonstrations' too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSettings:
    """The episode and its off-policy stream."""

    episode: EpisodeSettings = field(default_factory=EpisodeSettings)
    turn_tokens: Annotated[int, Between(1)] = 256
    """Most tokens the policy may write in one turn."""
    system_prompt: bool = True
    """Explain the episode to the model before the question. Off for a policy warmed up without it."""
    experts: str | None = None
    """Folder of the trajectory store; null: there is none."""
    n_expert: Annotated[int, Between(0)] = 0
    """Rollouts of a prompt that are off-policy trajectories; the other `rollout.n - n_expert` are the policy's."""
    off_policy_source: OffPolicySource = "experts"
    """Where those come from: `experts` (the store), `replay` (the policy's past successes), or `mixed`."""
    replay: ReplaySettings = field(default_factory=ReplaySettings)
    live: LiveSettings = field(default_factory=LiveSettings)
    demonstrations: DemonstrationSettings = field(default_factory=DemonstrationSettings)
    keep_wrong_experts: bool = False
    """Also replay expert trajectories that end in an incorrect answer."""
    expert_turns: Annotated[int, Between(1)] | None = None
    """Turns of an expert trajectory that are replayed before the policy goes on, its last turn excepted; null: all."""

    def __post_init__(self) -> None:
        check(self)
        stored = self.experts is not None or self.demonstrations.column is not None
        if self.n_expert and self.off_policy_source == "experts" and not stored:
            reason = (
                "neither experts names a trajectory store nor demonstrations.column a column; set one, or n_expert=0"
            )
            raise SettingError("n_expert", str(self.n_expert), reason)
        if self.off_policy_source == "experts" and self.replay != ReplaySettings():
            reason = "off_policy_source=experts does not read it; set off_policy_source to replay or mixed"
            raise SettingError("replay", None, reason)
        if self.live.oracle is not None and self.experts is None:
            reason = "needs experts, the store that keeps what is made"
            raise SettingError("live.oracle", shown(self.live.oracle), reason)

    def rules(self, tokens: PolicyTokens) -> EpisodeSettings:
        """The episode settings for a model."""
        return tokens.rules(self.episode)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """Where a table's images are."""

    image_root: str | None = None
    """Folder that relative image paths are joined to; null: paths in the table are absolute."""


ROLLOUT, ALGORITHM = "actor_rollout_ref.rollout.custom.medeyes", "algorithm.medeyes"
REWARD, DATA = "reward.medeyes", "data.medeyes"
SECTIONS: dict[str, type] = {
    ROLLOUT: RolloutSettings,
    ALGORITHM: DualStreamSettings,
    REWARD: RewardSettings,
    DATA: DataSettings,
}
"""The schema of each section."""
OF_THE_MODEL = (f"{ROLLOUT}.episode.view.multiple", f"{ROLLOUT}.episode.crop.multiple")
"""Keys of the schema that a recipe must not set: the model's processor decides them."""


def rollout_settings(config: DictConfig) -> RolloutSettings:
    """Read and check the rollout settings of a whole veRL configuration.

    Raises:
        SettingError: an unknown key, a value that is not allowed, or streams that do not fit into ``rollout.n``.
    """
    settings = read_node(RolloutSettings, OmegaConf.select(config, ROLLOUT), ROLLOUT)
    for key in OF_THE_MODEL:
        if (multiple := OmegaConf.select(config, key)) is not None:
            reason = "the model's processor decides it (28 for Qwen2.5-VL, 32 for Qwen3-VL); remove the key"
            raise SettingError(key, shown(multiple), reason)
    n = config.actor_rollout_ref.rollout.n
    if settings.n_expert >= n:
        raise SettingError(
            f"{ROLLOUT}.n_expert",
            str(settings.n_expert),
            f"with rollout.n={n}: leave at least one rollout to the policy; rollout.n counts both streams "
            "(the paper: 8 + 6 = 14)",
        )
    return settings


def dual_stream_settings(algorithm_config: Any) -> DualStreamSettings:
    """Read and check ``algorithm.medeyes``, given the section ``algorithm``. Raises SettingError."""
    return read_node(DualStreamSettings, (algorithm_config or {}).get("medeyes"), ALGORITHM)


def reward_settings(config: DictConfig) -> RewardSettings:
    """Read and check ``reward.medeyes``; absent keys are the paper's. Raises SettingError."""
    return read_node(RewardSettings, OmegaConf.select(config, REWARD), REWARD)


def data_settings(data_config: DictConfig) -> DataSettings:
    """Read and check ``data.medeyes``. Raises SettingError."""
    return read_node(DataSettings, OmegaConf.select(data_config, "medeyes"), DATA)
