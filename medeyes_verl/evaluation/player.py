"""Playing rows of a table: the one loop of an episode, and many of them in flight at once."""

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
from medeyes_verl.evaluation.client import ChatClient, RequestRefusedError
from medeyes_verl.evaluation.episode_log import Key, LoggedEpisode, Stream
from medeyes_verl.evaluation.recipe import Recipe
from medeyes_verl.evaluation.scoring import row_facts, score, with_boxes
from medeyes_verl.evaluation.tokens import Ledger, TokenLedger, UsageLedger
from medeyes_verl.evaluation.writers import ChatWriter, OutOfTokensError, Requests, ScriptedWriter, Writer
from medeyes_verl.gaze.crop import open_picture
from medeyes_verl.gaze.episode import Episode
from medeyes_verl.gaze.geometry import Size
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.gaze.prompt import system_prompt

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
    episode = _episode(row, recipe)
    turns, _ = await play_episode(episode, ScriptedWriter(texts))
    return _logged(Asked(row, 0), episode, recipe, turns, model=source, stream=stream, tokens=0, seconds=0.0)


class Player:
    """Plays against one endpoint. `tokens` of the policy make the token budget exact; None counts by usage."""

    def __init__(
        self, client: ChatClient, requests: Requests, recipe: Recipe, tokens: PolicyTokens | None = None
    ) -> None:
        self._client = client
        self._requests = requests
        self._recipe = recipe
        self._tokens = tokens

    async def play(self, asked: Asked) -> LoggedEpisode:
        """One episode. Raises EndpointError; ValueError when a picture of the row cannot be used."""
        episode, writer = await asyncio.to_thread(self._prepare, asked)
        started = time.perf_counter()
        turns, error = await play_episode(episode, writer)
        return _logged(
            asked,
            episode,
            self._recipe,
            turns,
            model=self._requests.model,
            stream="on_policy",
            tokens=writer.tokens,
            seconds=round(time.perf_counter() - started, 4),
            prompts_differing=writer.ledger.differing,
            error=error,
        )

    def _prepare(self, asked: Asked) -> tuple[Episode, ChatWriter]:
        recipe = self._recipe
        episode = _episode(asked.row, recipe)
        messages = prompt_messages(asked.row)
        if recipe.system_prompt:
            sizes = [Size(*view.size) for view in episode.views]
            messages.insert(0, {"role": "system", "content": system_prompt(recipe.rules, sizes)})
        ledger: Ledger = (
            UsageLedger(recipe.response_length)
            if self._tokens is None
            else TokenLedger(self._tokens, messages, episode.views, recipe.response_length)
        )
        name = "/".join(str(part) for part in asked.key)
        writer = ChatWriter(self._client, self._requests, ledger, messages, episode.views, name)
        return episode, writer


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


async def play_episode(
    episode: Episode, writer: Writer, in_thread: bool = True
) -> tuple[list[tuple[str, str | None, bool]], str | None]:
    """Until the episode is over: its turns as (text, observation, was there a crop), and why it was broken off.

    `in_thread`: turns are replied to in a thread, so that other episodes need not wait for crops.
    """
    turns: list[tuple[str, str | None, bool]] = []

    def reply(text: str) -> None:
        observation = episode.reply(text)
        if observation is None:
            turns.append((text, None, False))
            return
        turns.append((text, observation.text, observation.picture is not None))
        writer.observe(observation)

    try:
        while not episode.over:
            text = await writer.write()
            if in_thread:
                await asyncio.to_thread(reply, text)  # cropping and encoding take milliseconds
            else:
                reply(text)
        return turns, None
    except OutOfTokensError:
        episode.truncate()
        return turns, None
    except RequestRefusedError as error:
        episode.truncate()
        return turns, str(error)


@lru_cache(maxsize=64)
def _picture(path: str) -> Image.Image:
    """Read once for the samples and questions of a picture, which run side by side."""
    return open_picture(path)


def _episode(row: Row, recipe: Recipe) -> Episode:
    root = recipe.image_root or Path()
    return Episode([_picture(str(root / path)) for path in row["images"]], recipe.rules)


def _logged(
    asked: Asked,
    episode: Episode,
    recipe: Recipe,
    turns: list[tuple[str, str | None, bool]],
    **played: Any,
) -> LoggedEpisode:
    facts = row_facts(asked.row)
    root = recipe.image_root or Path()
    facts["images"] = tuple(str(root / path) for path in facts["images"])
    record = episode.record
    return LoggedEpisode(
        **facts,
        sample=asked.sample,
        view_sizes=tuple(Size(*view.size) for view in episode.views),
        record=record,
        turns=with_boxes(turns, record),
        scores=score(record, facts["ground_truth"], facts["question_type"], facts["options"], recipe.reward),
        **played,
    )
