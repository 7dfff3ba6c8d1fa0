"""How much of vLLM's speed does an evaluation keep? Whole episodes against the bare requests they are made of.

    python scripts/bench_evaluate.py MODEL --data TABLE.parquet [--questions 1000]

One vLLM is started for both. First the episodes are played as `medeyes-verl evaluate` plays them, and every request
is kept. Then the same requests, same prompts and as many tokens, are sent with no episode around them: no turn waits
for the one before, bodies are ready-made bytes, answers are read and dropped. Each way has had the same prompts in
vLLM's caches before (a warm-up), and the two take turns, several rounds each, since a shared machine is not equally
fast from minute to minute. The figure is requests a second of the episodes over those of the bare requests.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from medeyes_verl.evaluation.client import ChatClient, Reply
from medeyes_verl.evaluation.player import Player, play_all
from medeyes_verl.evaluation.recipe import guess_recipe, read_recipe
from medeyes_verl.evaluation.run import Work, read_tables
from medeyes_verl.evaluation.server import SERVED_NAME, RunningServer, serve
from medeyes_verl.evaluation.tokens import load_tokens
from medeyes_verl.evaluation.writers import Requests, Sampling
from medeyes_verl.gaze.policy_tokens import PolicyTokens

console = Console()


class KeepingClient(ChatClient):
    """A client that keeps the body of each request with the number of tokens it was answered by."""

    kept: list[bytes] | None = None

    async def chat(self, body: Mapping[str, Any]) -> Reply:
        reply = await super().chat(body)
        if self.kept is not None:
            tokens = reply.completion_tokens
            self.kept.append(json.dumps({**body, "min_tokens": tokens, "max_tokens": tokens}).encode())
        return reply


def main(
    model: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="a policy's folder")],
    data: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="a table of questions")],
    questions: Annotated[int, typer.Option(min=1, help="how many of them")] = 1000,
    concurrency: Annotated[int, typer.Option(min=1, help="requests in flight, both ways")] = 64,
    rounds: Annotated[int, typer.Option(min=1, help="measurements of each way")] = 3,
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
    pictures = max(len(row["images"]) for row in work.rows) + game.rules.max_gazes
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "vllm.log"
        with serve(str(model), game.serving, log, pictures=pictures, concurrency=concurrency) as server:
            bodies: list[bytes] = []
            seconds, _ = asyncio.run(episodes(server, requests, game, work, tokens, concurrency, bodies))
            console.print(f"warm-up: {len(work.rows)} episodes, {len(bodies)} requests in {seconds:.1f} s")
            asyncio.run(bare(server, bodies, concurrency))
            ratios = []
            for number in range(1, rounds + 1):
                played_s, turns = asyncio.run(episodes(server, requests, game, work, tokens, concurrency, None))
                bare_s = asyncio.run(bare(server, bodies, concurrency))
                played, alone = turns / played_s, len(bodies) / bare_s
                ratios.append(played / alone)
                console.print(
                    f"round {number}: episodes {len(work.rows) / played_s:.2f}/s = {played:.1f} requests/s; "
                    f"bare vLLM {alone:.1f} requests/s; ratio {ratios[-1]:.3f}",
                    highlight=False,
                )
    console.print(f"median ratio {median(ratios):.3f}", highlight=False)


async def episodes(
    server: RunningServer,
    requests: Requests,
    game: Any,
    work: Work,
    tokens: PolicyTokens,
    concurrency: int,
    kept: list[bytes] | None,
) -> tuple[float, int]:
    """Seconds to play all, and how many turns that were."""
    turns = 0

    def count(episode: Any) -> None:
        nonlocal turns
        turns += len(episode.turns)

    async with KeepingClient(server.base_url, server.api_key, connections=concurrency) as client:
        client.kept = kept
        started = time.perf_counter()
        await play_all(Player(client, requests, game, tokens), work.asked, concurrency, count)
        return time.perf_counter() - started, turns


async def bare(server: RunningServer, bodies: list[bytes], concurrency: int) -> float:
    """Seconds to send all bodies, as many in flight as the episodes had."""
    waiting = iter(bodies)
    headers = {"Authorization": f"Bearer {server.api_key}", "Content-Type": "application/json"}
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    async with httpx.AsyncClient(headers=headers, timeout=600, limits=limits) as client:

        async def work() -> None:
            for body in waiting:
                response = await client.post(f"{server.base_url}/chat/completions", content=body)
                response.raise_for_status()

        started = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(concurrency)))
        return time.perf_counter() - started


if __name__ == "__main__":
    typer.run(main)
