"""Where the trajectories of the off-policy stream come from, for an agent-loop worker.

The store of experts, the policy's own past successes, or both; and where the store has nothing for a
question and an oracle is at hand, trajectories made on the spot within a time limit.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medeyes_verl.config.settings import ROLLOUT, LiveSettings, RolloutSettings
from medeyes_verl.expert.live import LiveExperts
from medeyes_verl.expert.oracles.annotations import AnnotationOracle
from medeyes_verl.expert.oracles.client import HttpSettings
from medeyes_verl.expert.oracles.endpoint import EndpointOracle, EndpointSettings
from medeyes_verl.expert.oracles.own import oracle_maker
from medeyes_verl.expert.oracles.protocol import Oracle
from medeyes_verl.expert.question import Question
from medeyes_verl.expert.replay import choose_off_policy
from medeyes_verl.expert.sampler import Sampled, sample, sampler_preset
from medeyes_verl.expert.store import TrajectoryStore
from medeyes_verl.expert.trajectory import Trajectory
from medeyes_verl.gaze.episode import EpisodeSettings
from medeyes_verl.import_path import is_import_path
from medeyes_verl.plugin.replay_actor import find_replay
from medeyes_verl.reward.answer import is_correct


class OffPolicySource:
    """One a process: holds the open store, the replay actor and the oracle."""

    def __init__(self, settings: RolloutSettings, rules: EpisodeSettings) -> None:
        """Raises StoreError or ValueError where a source that the settings name is not there."""
        self._settings = settings
        self._live = None
        if settings.live.oracle is not None:
            make = _maker(settings.live, rules, settings.n_expert)
            self._live = LiveExperts(make, Path(str(settings.experts)), settings.live.time_limit)
        self._order = settings.off_policy_source
        experts = settings.experts if self._order != "replay" else None
        self._store = TrajectoryStore(experts) if experts is not None else None
        self._replay = find_replay() if self._order != "experts" else None

    async def trajectories(self, row: Mapping[str, Any], step: int) -> list[Trajectory]:
        """The trajectories of a prompt's off-policy sessions at a step, in the sessions' order; fewer where few are."""
        expert_id, n = row["extra_info"]["expert_id"], self._settings.n_expert
        replayed = await self._replay.get.remote(expert_id, n) if self._replay is not None else []
        return choose_off_policy(self._order, await self._experts(row), replayed, n, step)

    async def _experts(self, row: Mapping[str, Any]) -> list[Trajectory]:
        if self._store is None:
            return []
        expert_id = row["extra_info"]["expert_id"]
        found = self._store.get(expert_id)
        if self._live is not None and expert_id not in self._store:
            found = await self._live.get(Question.from_row(_with_pictures(row)))
        return [each for each in found if each.correct or self._settings.keep_wrong_experts]


def _with_pictures(row: Mapping[str, Any]) -> dict[str, Any]:
    """veRL hands a loop every column but the pictures; their paths are in the prompt."""
    parts = [
        part for message in row["raw_prompt"] if isinstance(message["content"], list) for part in message["content"]
    ]
    return {**row, "images": [part["image"] for part in parts if part["type"] == "image"]}


def _maker(live: LiveSettings, rules: EpisodeSettings, n: int) -> Any:
    oracle: Oracle
    if live.oracle == "endpoint":
        http = HttpSettings(url=live.url, timeout=live.time_limit)
        oracle = EndpointOracle(EndpointSettings(http, live.model, rules.frame, rules.view), rules.prompts)
    elif live.oracle is not None and is_import_path(live.oracle):
        oracle = oracle_maker(live.oracle, f"{ROLLOUT}.live.oracle", live.oracle_settings)()
    else:
        oracle = AnnotationOracle(rules.view, rules.crop)
    preset = sampler_preset(live.preset)
    navigator = replace(preset.navigator, max_gazes=min(preset.navigator.max_gazes, rules.max_gazes))
    settings = replace(preset, n=n, navigator=navigator, episode=rules)

    async def make(question: Question) -> Sampled:
        return await sample(question, oracle, settings, live.seed, _is_right)

    return make


def _is_right(question: Question, answer: str) -> bool:
    return is_correct(answer, question.ground_truth, question.question_type, question.options)
