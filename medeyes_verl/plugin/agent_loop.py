"""The agent loop ``medeyes_gaze``: one episode of looking and answering, as veRL rows.

Session ``i`` of a prompt belongs to the policy while ``i < rollout.n - n_expert``; the rest replay expert
trajectories without a call to the model. Both streams go through the same episode, crop and tokens, so an
expert row has exactly the tokens, mask and crops the policy would get had it generated that text.
"""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any

from omegaconf import DictConfig
from PIL import Image
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput, register

from medeyes_verl.config.settings import ROLLOUT, RolloutSettings, rollout_settings
from medeyes_verl.data.completion import own_name
from medeyes_verl.expert.trajectory import Trajectory, turn_texts
from medeyes_verl.gaze.conversation import Conversation
from medeyes_verl.gaze.crop import open_picture, usable_image
from medeyes_verl.gaze.episode import Episode, EpisodeSettings
from medeyes_verl.gaze.geometry import Size
from medeyes_verl.gaze.grammar import STOP_STRINGS
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.gaze.prompt import system_prompt
from medeyes_verl.gaze.rollout import Completion, rollout
from medeyes_verl.plugin.messages import pictures_of
from medeyes_verl.plugin.off_policy import OffPolicySource
from medeyes_verl.plugin.prefix_policy import PrefixPolicy
from medeyes_verl.plugin.streams import EXPERT, ON_POLICY, OUR_MODES, StreamsUnknownError, knows_streams
from medeyes_verl.policies.stored import StoredPolicy


@dataclass(frozen=True)
class Game:
    """What all episodes of a worker share."""

    settings: RolloutSettings
    rules: EpisodeSettings
    tokens: PolicyTokens
    off_policy: OffPolicySource | None


_games: dict[int, Game] = {}
"""By the identity of a worker's configuration, which is one object for as long as the worker lives."""


def _game_of(config: DictConfig, processor: Any) -> Game:
    if id(config) not in _games:
        settings = rollout_settings(config)
        if settings.n_expert and not knows_streams(config):
            raise StreamsUnknownError(
                f"{ROLLOUT}.n_expert={settings.n_expert} under a trainer that does not say which rows are experts': it "
                f"would train on them as on the policy's own. Set {OUR_MODES}, or n_expert to 0"
            )
        tokens = PolicyTokens(processor)
        rules = settings.rules(tokens)
        source = OffPolicySource(settings, rules) if settings.n_expert else None
        _games[id(config)] = Game(settings, rules, tokens, source)
    return _games[id(config)]


@register("medeyes_gaze")
class GazeAgentLoop(AgentLoopBase):
    """Plays one episode a session. veRL makes an instance a trajectory, so heavy state lives in module caches."""

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        game = _game_of(self.config, self.processor)
        messages = list(row["raw_prompt"])
        originals = [await _original(part) for part in pictures_of(messages)]
        if not originals:
            raise ValueError(
                f"row {own_name(row.get('extra_info'))}: medeyes_gaze needs an image, and the prompt has none. For "
                "rows of text set actor_rollout_ref.rollout.agent.default_agent_loop=single_turn_agent"
            )
        episode = Episode(originals, game.rules)
        if game.settings.system_prompt:  # written from the rules of this very episode, so the two cannot disagree
            views = [Size(*view.size) for view in episode.views]
            messages.insert(0, {"role": "system", "content": system_prompt(game.rules, views)})
        conversation = Conversation(
            game.tokens, messages, episode.views, response_length=self.rollout_config.response_length
        )
        off_policy = self._place_off_policy(game, row)
        trajectory = None if off_policy is None else await _trajectory(game, row, off_policy)
        server = ServerPolicy(self, sampling_params, game.settings.turn_tokens, row)
        policy: ServerPolicy | StoredPolicy | PrefixPolicy = server
        if trajectory is not None:
            texts = turn_texts(trajectory, game.rules, [Size(*original.size) for original in originals])
            turns = game.settings.expert_turns
            policy = StoredPolicy(texts) if turns is None else PrefixPolicy(texts, turns, server)
        trace = await rollout(episode, conversation, policy)
        # the version of the weights that a rollout of this step would have used: an expert is never stale
        version = row["global_steps"] - 1
        extra_fields = server.extra_fields or {"min_global_steps": version, "max_global_steps": version}
        if isinstance(policy, PrefixPolicy) and policy.expert_tokens is not None:
            extra_fields["expert_tokens"] = policy.expert_tokens
        extra_fields |= {
            "stream": ON_POLICY if trajectory is None else EXPERT,
            "source": "policy" if trajectory is None else trajectory.source,
            "expert_missing": off_policy is not None and trajectory is None,
            "trace": trace.as_dict(),
        }
        return AgentLoopOutput(
            prompt_ids=conversation.prompt_ids,
            response_ids=conversation.response_ids,
            response_mask=conversation.response_mask,
            # one row without log-probs would make veRL drop the field for the whole batch
            response_logprobs=conversation.log_probs if self.rollout_config.calculate_log_probs else None,
            multi_modal_data={"images": conversation.pictures},
            num_turns=2 * trace.num_turns,
            metrics=AgentLoopMetrics(generate_sequences=server.seconds),
            extra_fields=extra_fields,
        )

    def _place_off_policy(self, game: Game, row: dict[str, Any]) -> int | None:
        """This session's place among the prompt's off-policy sessions; None where it is the policy's own.

        Validation rows carry no expert id, so all their sessions are.
        """
        if game.off_policy is None or not (row.get("extra_info") or {}).get("expert_id"):
            return None
        place = int(row["session_id"]) - (self.rollout_config.n - game.settings.n_expert)
        return place if place >= 0 else None


class ServerPolicy:
    """The model that is being trained, behind veRL's server."""

    def __init__(
        self, agent: GazeAgentLoop, sampling_params: dict[str, Any], turn_tokens: int, row: dict[str, Any]
    ) -> None:
        self.extra_fields: dict[str, Any] = {}
        """What veRL says of the generations: oldest and newest weights that wrote any of the episode."""
        self.seconds = 0.0
        """Time spent waiting for the server."""
        self._server = agent.server_manager
        self._sampling_params = {**sampling_params, "stop": list(STOP_STRINGS), "include_stop_str_in_output": True}
        self._turn_tokens = turn_tokens
        self._request_id = f"{row['uid']}_{row['session_id']}"  # one name an episode: its turns stay on one server

    async def next_turn(self, conversation: Conversation) -> Completion:
        started = time.perf_counter()
        output = await self._server.generate(
            self._request_id,
            prompt_ids=conversation.prompt_ids + conversation.response_ids,
            sampling_params={**self._sampling_params, "max_tokens": min(self._turn_tokens, conversation.room)},
            image_data=conversation.pictures,
        )
        self.seconds += time.perf_counter() - started
        self.extra_fields = _merged_versions(self.extra_fields, dict(output.extra_fields))
        return Completion(token_ids=output.token_ids, log_probs=output.log_probs)


async def _trajectory(game: Game, row: dict[str, Any], place: int) -> Trajectory | None:
    """The trajectory an off-policy session replays; None where there are too few, and the policy plays instead."""
    assert game.off_policy is not None
    found = await game.off_policy.trajectories(row, row["global_steps"])
    return found[place] if place < len(found) else None


_readers = ThreadPoolExecutor(thread_name_prefix="medeyes-picture")


@lru_cache(maxsize=64)
def _reading(path: str) -> Future[Image.Image]:
    """A picture being read: the sessions of a prompt run side by side, and all wait for one reading."""
    return _readers.submit(open_picture, path)


async def _original(part: Mapping[str, Any]) -> Image.Image:
    """An image of a prompt at its full size; veRL's own loading would shrink it first.

    It is a path, the bytes of a table's cell, or an image that veRL has already opened.
    """
    given = part.get("bytes") or part["image"]
    if isinstance(given, bytes):
        return await asyncio.to_thread(open_picture, BytesIO(given))  # type: ignore[arg-type]  # a file object serves too
    if isinstance(given, Image.Image):
        return await asyncio.to_thread(usable_image, given)
    # shielded: a session that is cancelled must not take the picture from its siblings
    return await asyncio.shield(asyncio.wrap_future(_reading(str(given).removeprefix("file://"))))


def _merged_versions(before: dict[str, Any], turn: dict[str, Any]) -> dict[str, Any]:
    """veRL's per-generation fields over an episode: oldest and newest weights that wrote any of it."""
    merged = {**before, **turn}
    if before:
        merged["min_global_steps"] = min(before["min_global_steps"], turn["min_global_steps"])
        merged["max_global_steps"] = max(before["max_global_steps"], turn["max_global_steps"])
    return merged
