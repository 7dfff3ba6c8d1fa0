"""Many episodes against an endpoint on loopback: all of them once, whatever the endpoint does."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medeyes_verl.evaluation.episode_log import LoggedEpisode, read_episodes
from medeyes_verl.evaluation.player import play_texts
from medeyes_verl.evaluation.recipe import Recipe
from medeyes_verl.evaluation.run import EPISODES, Endpoint, Work, begin, evaluate, read_tables, settings_of
from medeyes_verl.gaze.geometry import Box
from medeyes_verl.http.client import HttpSettings
from medeyes_verl.policies.chat import Requests, Sampling
from medeyes_verl.policies.client import EndpointError

IMPATIENT = HttpSettings("", timeout=20, retries=1, backoff=0.01)
REQUESTS = Requests(model="scripted", turn_tokens=64, sampling=Sampling())


def run(endpoint: Any, table: Path, recipe: Recipe, output: Path, **options: Any) -> list[LoggedEpisode]:
    return evaluate(
        Endpoint(base_url=endpoint.url, http=options.pop("http", IMPATIENT)),
        options.pop("requests", REQUESTS),
        recipe,
        Work(rows=read_tables([table]), samples=options.pop("samples", 1)),
        output,
        concurrency=options.pop("concurrency", 8),
        **options,
    )


def test_every_question_is_played_to_its_answer(
    endpoints: Callable[..., Any], good_policy: Any, table: Path, recipe: Recipe, tmp_path: Path
) -> None:
    endpoint = endpoints(good_policy)
    episodes = run(endpoint, table, recipe, tmp_path)
    assert len(episodes) == 24
    assert set(endpoint.asked.values()) == {1}
    assert len(endpoint.asked) == 48
    assert sum(episode.scores.acc for episode in episodes) == 23
    wrong = next(episode for episode in episodes if not episode.scores.acc)
    assert (wrong.id, wrong.trace.answer) == ("q5", "no idea")
    first = next(episode for episode in episodes if episode.id == "q0")
    assert [turn.box for turn in first.trace.turns] == [
        Box(0, 0, 112, 112),
        None,
    ]  # 56 of 112, 224 original
    assert [turn.feedback for turn in first.trace.turns] == ["", None]
    assert first.scores.r_grammar == 1
    assert first.trace.view_sizes[0] == (112, 112)


def test_an_endpoint_that_dies_is_gone_on_with_and_nothing_is_lost_or_asked_twice(
    endpoints: Callable[..., Any], good_policy: Any, table: Path, recipe: Recipe, tmp_path: Path
) -> None:
    dying = endpoints(good_policy, dies_after=21)
    with pytest.raises(EndpointError, match="failed 2 times"):
        run(dying, table, recipe, tmp_path)
    kept = read_episodes(tmp_path / EPISODES)
    assert 0 < len(kept) < 24

    second = endpoints(good_policy)
    episodes = run(second, table, recipe, tmp_path)
    assert sorted(episode.id for episode in episodes) == sorted(f"q{number}" for number in range(24))
    lines = (tmp_path / EPISODES).read_text().splitlines()
    assert len(lines) == 24, "no question has two lines"
    finished = {episode.question for episode in kept}
    assert not finished & {question for question, _ in second.asked}, "a question with an episode was asked again"
    assert set(second.asked.values()) == {1}


def test_a_short_failure_is_waited_out(
    endpoints: Callable[..., Any], good_policy: Any, table: Path, recipe: Recipe, tmp_path: Path
) -> None:
    endpoint = endpoints(good_policy)
    endpoint.faults += [(503, "starting"), (429, "busy"), (500, "oops")]
    episodes = run(endpoint, table, recipe, tmp_path, http=replace(IMPATIENT, retries=4))
    assert sum(episode.scores.acc for episode in episodes) == 23


def test_a_refused_request_costs_its_own_episode_only_and_is_tried_in_the_next_run(
    endpoints: Callable[..., Any], good_policy: Any, table: Path, recipe: Recipe, tmp_path: Path
) -> None:
    endpoint = endpoints(good_policy)
    endpoint.faults.append((400, json.dumps({"error": {"message": "the prompt is too long"}})))
    episodes = run(endpoint, table, recipe, tmp_path)
    broken = [episode for episode in episodes if episode.error]
    assert [episode.error for episode in broken] == ["HTTP 400: the prompt is too long"]
    assert broken[0].scores.acc == 0
    assert broken[0].trace.finish == "truncated"
    again = run(endpoint, table, recipe, tmp_path)
    assert [episode for episode in again if episode.error] == []
    assert len(again) == 24


def test_a_closed_door_ends_the_run_at_once(
    endpoints: Callable[..., Any], good_policy: Any, table: Path, recipe: Recipe, tmp_path: Path
) -> None:
    endpoint = endpoints(good_policy)
    endpoint.key = "secret"
    with pytest.raises(EndpointError, match="401: no entry"):
        run(endpoint, table, recipe, tmp_path)
    assert len(endpoint.bodies) <= 8


def test_samples_of_a_question_have_seeds_of_their_own(
    endpoints: Callable[..., Any], good_policy: Any, table: Path, recipe: Recipe, tmp_path: Path
) -> None:
    endpoint = endpoints(good_policy)
    sampled = replace(REQUESTS, sampling=Sampling(temperature=1.0))
    episodes = run(endpoint, table, recipe, tmp_path / "one", requests=sampled, samples=3)
    assert sorted({episode.sample for episode in episodes}) == [0, 1, 2]
    seeds = sorted(body["seed"] for body in endpoint.bodies)
    assert len(set(seeds)) == len(seeds) == 24 * 3 * 2
    other = endpoints(good_policy)
    run(other, table, recipe, tmp_path / "two", requests=sampled, samples=3)
    assert sorted(body["seed"] for body in other.bodies) == seeds


def test_an_episode_ends_where_its_tokens_end(
    endpoints: Callable[..., Any], table: Path, recipe: Recipe, tmp_path: Path
) -> None:
    endpoint = endpoints(lambda *_: "words without end " * 20)  # 60 words: the counted tokens of a turn
    episodes = run(endpoint, table, replace(recipe, response_length=80), tmp_path)
    assert {episode.trace.finish for episode in episodes} == {"truncated"}
    assert {len(episode.trace.turns) for episode in episodes} == {2}
    assert {body["max_tokens"] for body in endpoint.bodies} == {64, 20}, "a turn's budget, then what 60 left of 80"


def test_the_log_of_other_settings_is_not_gone_on_with(table: Path, recipe: Recipe, tmp_path: Path) -> None:
    def settings(requests: Requests, recipe: Recipe) -> dict[str, Any]:
        return settings_of(model="m", recipe=recipe, requests=requests, tables=[table], exact_budget=False)

    begin(tmp_path, settings(REQUESTS, recipe))
    begin(tmp_path, settings(REQUESTS, recipe))
    with pytest.raises(ValueError, match="another sampling"):
        begin(tmp_path, settings(replace(REQUESTS, sampling=Sampling(temperature=0.5)), recipe))
    with pytest.raises(ValueError, match="another recipe"):
        begin(tmp_path, settings(REQUESTS, replace(recipe, turn_tokens=9)))
    other = tmp_path / "other"
    other.mkdir()
    (other / EPISODES).touch()
    with pytest.raises(ValueError, match=r"no settings\.json"):
        begin(other, settings(REQUESTS, recipe))


def test_the_same_question_in_two_tables_is_an_error(table: Path) -> None:
    with pytest.raises(ValueError, match="'q0' is also in"):
        read_tables([table, table])


def test_written_turns_are_played_by_the_same_rules(table: Path, recipe: Recipe) -> None:
    row = read_tables([table], limit=1)[0]
    texts = [
        '<reasoning>a</reasoning>\n<action>{"name": "Gaze", "coordinate": [28, 28, 84, 84]}</action>',
        "<reasoning>b</reasoning>\n<answer>yes</answer>",
    ]
    episode = asyncio.run(play_texts(row, recipe, texts, "scripted", "expert"))
    assert (episode.stream, episode.model, episode.scores.acc) == ("expert", "scripted", 1.0)
    assert episode.trace.turns[0].box == Box(56, 56, 168, 168)
    cut = asyncio.run(play_texts(row, recipe, texts[:1], "scripted", "expert"))
    assert cut.trace.finish == "truncated"
