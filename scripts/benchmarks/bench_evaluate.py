"""How much of vLLM's speed does an evaluation keep? Whole episodes against the bare requests they are made of.

    python scripts/benchmarks/bench_evaluate.py MODEL --data TABLE.parquet [--questions 1000]

One vLLM is started for both. First the episodes are played as `medeyes-verl evaluate` plays them, and every request
is kept. Then the same requests are sent by the same client with no episode around them: no turn waits for the one
before, nothing is cropped, encoded or scored, answers are counted and dropped. Each way has had the same prompts in
vLLM's caches before (a warm-up), and the two take turns, several rounds each, since a shared machine is not equally
fast from minute to minute. The figure is tokens a second of the episodes over those of the bare requests; beside it
stands how long this process worked for a request, since on a small machine it takes that from vLLM's cores. `--apart`
gives vLLM all cores but one, and this process that one, both ways: does an evaluation leave vLLM waiting?
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich.console import Console

from medeyes_verl.evaluation.player import Player, endpoint_policy, play_all
from medeyes_verl.evaluation.recipe import Recipe, guess_recipe, read_recipe
from medeyes_verl.evaluation.run import Work, read_tables
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.gaze.rollout import Completion
from medeyes_verl.policies.chat import Requests, Sampling
from medeyes_verl.policies.chat_conversation import load_tokens
from medeyes_verl.policies.client import ChatClient
from medeyes_verl.policies.server import SERVED_NAME, RunningServer, serve

console = Console()


@dataclass(frozen=True, slots=True)
class Pace:
    """What one way of asking came to."""

    requests: int
    tokens: int
    """Written by vLLM."""
    seconds: float
    own_seconds: float
    """Of one core, that this process worked."""

    def __str__(self) -> str:
        rates = f"{self.requests / self.seconds:.1f} requests, {self.tokens / self.seconds:.0f} tokens a second"
        return f"{rates}, {1000 * self.own_seconds / self.requests:.1f} ms of a core a request"


class Clock:
    """Measures from where it is made."""

    def __init__(self) -> None:
        self._wall, self._own = time.perf_counter(), time.process_time()

    def pace(self, requests: int, tokens: int) -> Pace:
        return Pace(requests, tokens, time.perf_counter() - self._wall, time.process_time() - self._own)


class KeepingClient(ChatClient):
    """A client that counts what it is answered, and keeps the body of each request where it is asked to."""

    requests = 0
    tokens = 0
    kept: list[dict[str, Any]] | None = None

    async def chat(self, body: Mapping[str, Any]) -> Completion:
        if self.kept is not None:
            self.kept.append(json.loads(json.dumps(body)))  # a copy: the conversation goes on in the original
        reply = await super().chat(body)
        self.requests += 1
        self.tokens += reply.completion_tokens
        return reply


def main(
    model: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="a policy's folder")],
    data: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="a table of questions")],
    questions: Annotated[int, typer.Option(min=1, help="how many of them")] = 1000,
    concurrency: Annotated[int, typer.Option(min=1, help="requests in flight, both ways")] = 64,
    rounds: Annotated[int, typer.Option(min=1, help="measurements of each way")] = 3,
    apart: Annotated[bool, typer.Option("--apart", help="one core for this process, the others for vLLM")] = False,
    recipe: Annotated[str | None, typer.Option(help="rules of the game; default: guessed from the model")] = None,
) -> None:
    """Measure and print."""
    tokens = load_tokens(str(model))
    game = read_recipe(recipe or guess_recipe(model))
    game = replace(game, rules=tokens.rules(game.rules))
    work = Work(rows=read_tables([data], questions))
    requests = Requests(
        model=SERVED_NAME, turn_tokens=game.turn_tokens, sampling=Sampling(), never=tokens.placeholder_ids
    )
    if apart:
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) == 1:
            raise typer.BadParameter("one core cannot be shared out: leave --apart away")
        os.sched_setaffinity(0, cores[:-1])  # what is started from here on inherits it
    pictures = max(len(row["images"]) for row in work.rows) + game.rules.max_gazes
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "vllm.log"
        with serve(str(model), game.serving, log, pictures=pictures, concurrency=concurrency) as server:
            if apart:
                os.sched_setaffinity(0, cores[-1:])
            play = partial(episodes, server, requests, game, work, tokens, concurrency)
            bodies: list[dict[str, Any]] = []
            console.print(f"warm-up, {len(work.rows)} episodes: {asyncio.run(play(bodies))}", highlight=False)
            asyncio.run(bare(server, bodies, concurrency))
            ratios = []
            for number in range(1, rounds + 1):
                played, alone = asyncio.run(play(None)), asyncio.run(bare(server, bodies, concurrency))
                ratios.append(played.tokens / played.seconds / (alone.tokens / alone.seconds))
                console.print(f"round {number}, episodes: {played}", highlight=False)
                console.print(f"round {number}, bare vLLM: {alone}; ratio {ratios[-1]:.3f}", highlight=False)
    console.print(f"median ratio {median(ratios):.3f}", highlight=False)


async def episodes(
    server: RunningServer,
    requests: Requests,
    game: Recipe,
    work: Work,
    tokens: PolicyTokens,
    concurrency: int,
    kept: list[dict[str, Any]] | None,
) -> Pace:
    """Play all, as an evaluation does."""
    client = KeepingClient(server.base_url, server.api_key, connections=concurrency)
    client.kept = kept
    async with client:
        clock = Clock()
        await play_all(
            Player(endpoint_policy(client, requests), requests.model, game, tokens),
            work.asked,
            concurrency,
            lambda _: None,
        )
        return clock.pace(client.requests, client.tokens)


async def bare(server: RunningServer, bodies: list[dict[str, Any]], concurrency: int) -> Pace:
    """Send all bodies, as many in flight as the episodes had."""
    waiting = iter(bodies)
    client = KeepingClient(server.base_url, server.api_key, connections=concurrency)

    async def work() -> None:
        for body in waiting:
            await client.chat(body)

    async with client:
        clock = Clock()
        await asyncio.gather(*(work() for _ in range(concurrency)))
        return clock.pace(client.requests, client.tokens)


if __name__ == "__main__":
    typer.run(main)
