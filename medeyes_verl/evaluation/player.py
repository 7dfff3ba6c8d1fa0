"""Run the rows of a table with a policy, many episodes in flight at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from medeyes_verl.data.row import prompt_messages
from medeyes_verl.evaluation.episode_log import Key, LoggedEpisode, Stream
from medeyes_verl.evaluation.recipe import Recipe
from medeyes_verl.evaluation.scoring import OwnParts, own_parts, row_facts, score
from medeyes_verl.gaze.conversation import Conversation
from medeyes_verl.gaze.crop import open_picture
from medeyes_verl.gaze.episode import Episode
from medeyes_verl.gaze.geometry import Size
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.gaze.prompt import system_prompt
from medeyes_verl.gaze.rollout import Policy, rollout
from medeyes_verl.gaze.trace import EpisodeTrace
from medeyes_verl.policies.chat import ChatPolicy, Requests
from medeyes_verl.policies.chat_conversation import ChatConversation, UsageBudget
from medeyes_verl.policies.client import ChatClient, RequestRefusedError
from medeyes_verl.policies.stored import StoredPolicy, Unbudgeted

Row = Mapping[str, Any]
"""A row of a table, as `read_rows` gives it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a model: one sample of one row."""

    row: Row
    sample: int

    @property
    def key(self) -> Key:
        return self.row["data_source"], self.row["extra_info"]["id"], self.sample


async def play_texts(row: Row, recipe: Recipe, texts: Iterable[str], source: str, stream: Stream) -> LoggedEpisode:
    """An episode whose turns were written before. `source` is who wrote them; the recipe's rules hold.

    Raises ValueError when a picture cannot be used.
    """
    trace = await rollout(_episode(row, recipe), Unbudgeted(), StoredPolicy(texts))
    own = await own_parts(row, trace, recipe.reward)
    return logged(row, trace, recipe, own, sample=0, model=source, stream=stream, seconds=0.0)


PolicyOf = Callable[[str], Policy[ChatConversation]]
"""The policy of the episode with a key: benchmark, question and sample, joined by slashes."""


def endpoint_policy(client: ChatClient, requests: Requests) -> PolicyOf:
    """Every episode's policy is the model behind an endpoint, with a seed of its own."""
    return lambda key: ChatPolicy(client, requests, key)


class Player:
    """Runs episodes with one policy. `tokens` of it make the token budget exact; None counts by usage."""

    def __init__(self, policy_of: PolicyOf, model: str, recipe: Recipe, tokens: PolicyTokens | None = None) -> None:
        self._policy_of = policy_of
        self._model = model
        self._recipe = recipe
        self._tokens = tokens

    async def play(self, asked: Asked) -> LoggedEpisode:
        """One episode. Raises the policy's own errors; ValueError when an image of the row cannot be used."""
        episode, conversation = await asyncio.to_thread(self._prepare, asked)
        policy = self._policy_of("/".join(str(part) for part in asked.key))
        started = time.perf_counter()
        error: str | None = None
        try:
            # cropping and encoding take milliseconds that others need not wait
            trace = await rollout(episode, conversation, policy, in_thread=True)
        except RequestRefusedError as refused:
            episode.truncate()
            trace, error = episode.trace, str(refused)
        seconds = round(time.perf_counter() - started, 4)
        return logged(
            asked.row,
            trace,
            self._recipe,
            await own_parts(asked.row, trace, self._recipe.reward),
            sample=asked.sample,
            model=self._model,
            stream="on_policy",
            seconds=seconds,
            prompts_differing=conversation.prompts_differing,
            error=error,
        )

    def _prepare(self, asked: Asked) -> tuple[Episode, ChatConversation]:
        recipe = self._recipe
        episode = _episode(asked.row, recipe)
        messages = with_system_prompt(prompt_messages(asked.row), recipe, episode)
        budget = (
            UsageBudget(recipe.response_length)
            if self._tokens is None
            else Conversation(self._tokens, messages, episode.views, recipe.response_length)
        )
        return episode, ChatConversation(messages, episode.views, budget)


def with_system_prompt(messages: list[dict[str, Any]], recipe: Recipe, episode: Episode) -> list[dict[str, Any]]:
    """Put the recipe's system message, where it has one, before the messages; written from this very episode."""
    if not recipe.system_prompt:
        return messages
    sizes = [Size(*view.size) for view in episode.views]
    return [{"role": "system", "content": system_prompt(recipe.rules, sizes)}, *messages]


async def play_all(
    player: Player, waiting: Iterable[Asked], concurrency: int, on_episode: Callable[[LoggedEpisode], None]
) -> None:
    """Play everything in `waiting`, `concurrency` episodes at a time; a new one starts whenever one ends.

    `on_episode` is called with each as it ends. The first exception stops all others and is raised.
    """
    queue = iter(waiting)

    async def work() -> None:
        for asked in queue:  # shared: each episode goes to the worker that is free first
            on_episode(await player.play(asked))

    workers = [asyncio.create_task(work()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        for worker in workers:
            with suppress(asyncio.CancelledError, Exception):
                await worker


@lru_cache(maxsize=64)
def _picture(path: str) -> Image.Image:
    """Read once for the samples and questions of a picture, which run side by side."""
    return open_picture(path)


def _episode(row: Row, recipe: Recipe) -> Episode:
    root = recipe.image_root or Path()
    return Episode([_picture(str(root / path)) for path in row["images"]], recipe.rules)


def logged(row: Row, trace: EpisodeTrace, recipe: Recipe, own: OwnParts, **played: Any) -> LoggedEpisode:
    """Join a trace to its row and its scores; `played` are the fields of LoggedEpisode that neither holds."""
    facts = row_facts(row)
    root = recipe.image_root or Path()
    facts["images"] = tuple(str(root / path) for path in facts["images"])
    scores = score(trace, facts["ground_truth"], facts["question_type"], facts["options"], recipe.reward, own)
    return LoggedEpisode(**facts, trace=trace, scores=scores, **played)
