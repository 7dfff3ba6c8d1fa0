"""One evaluation from a source to its episodes: load what is needed, serve the policy if need be, play, measure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medeyes_verl.evaluation.dump import read_dump
from medeyes_verl.evaluation.episode_log import EpisodeLog, LoggedEpisode
from medeyes_verl.evaluation.player import Row
from medeyes_verl.evaluation.recipe import check_own
from medeyes_verl.evaluation.run import (
    EPISODES,
    Endpoint,
    Work,
    begin,
    evaluate,
    evaluate_policy,
    only_model,
    settings_of,
)
from medeyes_verl.evaluation.sources import Source
from medeyes_verl.extras import require
from medeyes_verl.gaze.tool import most_observations
from medeyes_verl.policies.chat import Requests, Sampling
from medeyes_verl.policies.chat_conversation import load_tokens
from medeyes_verl.policies.client import CHAT
from medeyes_verl.policies.own import OwnPolicy
from medeyes_verl.policies.server import SERVED_NAME, serve


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a source is played."""

    sampling: Sampling = field(default_factory=Sampling)
    samples: int = 1
    """Episodes a question."""
    concurrency: int = 64
    """Episodes in flight at once."""
    timeout_s: float = 600.0
    """For one answer."""
    model: str | None = None
    """The model's name at an endpoint; None: its only one."""
    processor: str | None = None
    """For an endpoint: folder or name of the policy whose processor counts tokens; None: by the endpoint's counts."""
    plain: bool = False
    """For an endpoint: only OpenAI's own fields."""
    api_key: str | None = None
    """For an endpoint."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """For a policy of the user's own: its keyword arguments."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was played and under which circumstances."""

    episodes: list[LoggedEpisode]
    """Of the questions asked for, those of an earlier start among them."""
    settings: dict[str, Any]
    """All that decides an answer."""
    facts: dict[str, Any]
    """About this start: time, speed."""


Begin = Callable[[int, int], Callable[[LoggedEpisode], None]]
"""Told how many episodes there are and how many of them are done; gives what is called with each further one."""


def play(source: Source, rows: Sequence[Row], options: Options, say: Callable[[str], None], on_begin: Begin) -> Outcome:
    """Play a model or an endpoint. Raises EndpointError, and ValueError for what cannot be used."""
    serving = source.kind == "model"
    check_own(source.recipe)  # an error in them is said before anything is served
    if serving:
        require("vllm")
    policy = source.name if serving else options.processor
    tokens = None if policy is None else load_tokens(policy)
    recipe = source.recipe if tokens is None else replace(source.recipe, rules=tokens.rules(source.recipe.rules))
    given = Endpoint(base_url=source.name, api_key=options.api_key, http=replace(CHAT, timeout=options.timeout_s))
    name = SERVED_NAME if serving else options.model or only_model(given)
    requests = Requests(
        model=name,
        turn_tokens=recipe.turn_tokens,
        sampling=options.sampling,
        extensions=not options.plain,
        never=() if tokens is None else tokens.placeholder_ids,
    )
    settings = settings_of(
        model=source.name if serving else name,
        recipe=recipe,
        requests=requests,
        tables=source.tables,
        exact_budget=tokens is not None,
    )
    begin(source.output, settings)
    work = Work(rows=rows, samples=options.samples)
    left = work.left(source.output)
    started = time.monotonic()
    with _endpoint(source, given, work, options.concurrency, say) if serving and left else _as_given(given) as endpoint:
        ready = time.monotonic()
        on_episode = on_begin(len(work.asked), len(work.asked) - left)
        episodes = evaluate(
            endpoint,
            requests,
            recipe,
            work,
            source.output,
            concurrency=options.concurrency,
            tokens=tokens,
            on_episode=on_episode,
        )
        seconds = time.monotonic() - ready
    facts = {
        "episodes_played_now": left,
        "seconds": round(seconds, 2),
        "episodes_a_second": round(left / seconds, 2) if left else None,
        "start_seconds": round(ready - started, 2),
        "concurrency": options.concurrency,
    }
    return Outcome(episodes, settings, facts)


def play_own(
    source: Source, rows: Sequence[Row], options: Options, say: Callable[[str], None], on_begin: Begin
) -> Outcome:
    """Play a policy that the user names by import path. Raises ImportPathError, OwnPolicyError, ValueError."""
    check_own(source.recipe)
    policy = OwnPolicy(source.name, "SOURCE", options.arguments)
    tokens = None if options.processor is None else load_tokens(options.processor)
    recipe = source.recipe if tokens is None else replace(source.recipe, rules=tokens.rules(source.recipe.rules))
    settings = settings_of(
        model=source.name,
        recipe=recipe,
        requests=None,
        tables=source.tables,
        exact_budget=tokens is not None,
        arguments=options.arguments,
    )
    begin(source.output, settings)
    work = Work(rows=rows, samples=options.samples)
    left = work.left(source.output)
    started = time.monotonic()
    episodes = evaluate_policy(
        lambda _: policy,
        source.name,
        recipe,
        work,
        source.output,
        concurrency=options.concurrency,
        tokens=tokens,
        on_episode=on_begin(len(work.asked), len(work.asked) - left),
    )
    seconds = time.monotonic() - started
    facts = {
        "episodes_played_now": left,
        "seconds": round(seconds, 2),
        "episodes_a_second": round(left / seconds, 2) if left else None,
        "concurrency": options.concurrency,
    }
    return Outcome(episodes, settings, facts)


def replay(source: Source, rows: Sequence[Row]) -> Outcome:
    """Read the dump of a validation. Its log is made anew each time. Raises ValueError."""
    check_own(source.recipe)
    dumped = read_dump(Path(source.name), rows, source.recipe)
    (source.output / EPISODES).unlink(missing_ok=True)
    with EpisodeLog(source.output / EPISODES) as log:
        for episode in dumped.episodes:
            log.append(episode)
    settings = {"dump": source.name, "recipe": source.recipe.name}
    return Outcome(dumped.episodes, settings, {"disagreeing_with_training": dumped.disagreeing})


@contextmanager
def _as_given(endpoint: Endpoint) -> Iterator[Endpoint]:
    yield endpoint


@contextmanager
def _endpoint(
    source: Source, given: Endpoint, work: Work, concurrency: int, say: Callable[[str], None]
) -> Iterator[Endpoint]:
    """A vLLM of our own for the source's model."""
    log = source.output / "vllm.log"
    pictures = max(len(row["images"]) for row in work.rows) + most_observations(source.recipe.rules)
    say(f"starting vLLM (its words: {log})")
    with serve(source.name, source.recipe.serving, log, pictures=pictures, concurrency=concurrency) as server:
        yield replace(given, base_url=server.base_url, api_key=server.api_key)
