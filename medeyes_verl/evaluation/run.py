"""One evaluation, from tables to a log of episodes: what is left to ask, and under which settings it was begun.

The output folder holds `settings.json`, all that the answers depend on, and `episodes.jsonl`. A second run into
the same folder goes on where the first one stopped, but only under the same settings: two models in one log would
be a figure about neither.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from medeyes_verl.data.atomic import write_json
from medeyes_verl.data.row import read_rows
from medeyes_verl.evaluation.episode_log import EpisodeLog, LoggedEpisode, read_episodes
from medeyes_verl.evaluation.player import Asked, Player, PolicyOf, Row, endpoint_policy, play_all
from medeyes_verl.evaluation.recipe import Recipe
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.http.client import HttpSettings
from medeyes_verl.import_path import file_digest
from medeyes_verl.policies.chat import Requests
from medeyes_verl.policies.client import ChatClient
from medeyes_verl.prompts.templates import digest

EPISODES = "episodes.jsonl"
SETTINGS = "settings.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a policy answers."""

    base_url: str
    api_key: str | None = None
    http: HttpSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be asked."""

    rows: Sequence[Row]
    samples: int = 1
    """Episodes a question."""

    @property
    def asked(self) -> list[Asked]:
        """Every sample of every row; the samples of a question side by side, so that they share a prompt."""
        return [Asked(row, sample) for row in self.rows for sample in range(self.samples)]

    def left(self, output: Path) -> int:
        """How many of them a log does not hold yet."""
        log = output / EPISODES
        done = {episode.key for episode in read_episodes(log) if episode.error is None} if log.exists() else set()
        return sum(asked.key not in done for asked in self.asked)


def read_tables(tables: Sequence[Path], limit: int | None = None) -> list[Row]:
    """The rows of tables, the first `limit` of each. Raises ValueError where an id occurs twice."""
    rows: list[Row] = []
    seen: dict[tuple[str, str], Path] = {}
    for table in tables:
        for row in islice(read_rows(table), limit):
            key = row["data_source"], row["extra_info"]["id"]
            if key in seen:
                raise ValueError(f"{table}: {key[0]} question {key[1]!r} is also in {seen[key]}; evaluate one of them")
            seen[key] = table
            rows.append(row)
    if not rows:
        raise ValueError(f"{', '.join(map(str, tables))}: no questions")
    return rows


def only_model(endpoint: Endpoint) -> str:
    """The name of the one model an endpoint serves. Raises ValueError for none or several, EndpointError."""

    async def ask() -> list[str]:
        async with ChatClient(endpoint.base_url, endpoint.api_key, endpoint.http) as client:
            return await client.models()

    names = asyncio.run(ask())
    if len(names) != 1:
        raise ValueError(f"{endpoint.base_url} serves {', '.join(names) or 'nothing'}: say which with --model")
    return names[0]


def settings_of(
    *,
    model: str,
    recipe: Recipe,
    requests: Requests | None,
    tables: Sequence[Path],
    exact_budget: bool,
    arguments: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """All that decides an answer, in plain JSON. Not among it: how many questions, samples and requests at once.

    `requests` are those to an endpoint, `arguments` those of a policy of the user's own.
    """
    game = asdict(recipe)
    del game["serving"], game["image_root"]
    return json.loads(
        json.dumps(
            {
                "model": _model_stamp(model),
                "recipe": game,
                "sampling": None if requests is None else asdict(requests.sampling),
                "extensions": None if requests is None else requests.extensions,
                "arguments": dict(arguments or {}),
                "exact_budget": exact_budget,
                "code": {path: file_digest(path) for path in _own_code(model, recipe)}
                | {"prompts": digest(recipe.rules.prompts)},
                "tables": [[table.name, hashlib.sha256(table.read_bytes()).hexdigest()] for table in tables],
            }
        )
    )


def begin(output: Path, settings: Mapping[str, Any]) -> None:
    """Make the output folder, or check that it was begun under the same settings. Raises ValueError."""
    path = output / SETTINGS
    if not path.exists():
        if (output / EPISODES).exists():
            raise ValueError(f"{output} holds episodes but no {SETTINGS}: choose another --output")
        write_json(path, settings)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = [key for key in settings if settings[key] != before.get(key)]
    if changed:
        raise ValueError(
            f"{output} was begun with another {', '.join(changed)} (see {path}): choose another --output, or remove it"
        )


def evaluate(
    endpoint: Endpoint,
    requests: Requests,
    recipe: Recipe,
    work: Work,
    output: Path,
    *,
    concurrency: int,
    tokens: PolicyTokens | None = None,
    on_episode: Callable[[LoggedEpisode], None] = lambda _: None,
) -> list[LoggedEpisode]:
    """Play what is not yet in the log of `output`; the episodes of `work`, those of earlier runs among them.

    Raises EndpointError when the endpoint fails for good: what was played is in the log, and the same call goes on.
    """

    async def main() -> None:
        async with ChatClient(endpoint.base_url, endpoint.api_key, endpoint.http, concurrency) as client:
            player = Player(endpoint_policy(client, requests), requests.model, recipe, tokens)
            await _play_left(player, work, output, concurrency, on_episode)

    if work.left(output):  # else there is nobody to ask: a finished evaluation of a served model has no endpoint
        asyncio.run(main())
    return _episodes_of(work, output)


def evaluate_policy(
    policy_of: PolicyOf,
    name: str,
    recipe: Recipe,
    work: Work,
    output: Path,
    *,
    concurrency: int,
    tokens: PolicyTokens | None = None,
    on_episode: Callable[[LoggedEpisode], None] = lambda _: None,
) -> list[LoggedEpisode]:
    """As `evaluate`, with a policy in this process. Raises the policy's errors; the same call resumes."""
    player = Player(policy_of, name, recipe, tokens)
    asyncio.run(_play_left(player, work, output, concurrency, on_episode))
    return _episodes_of(work, output)


async def _play_left(
    player: Player, work: Work, output: Path, concurrency: int, on_episode: Callable[[LoggedEpisode], None]
) -> None:
    with EpisodeLog(output / EPISODES) as log:

        def keep(episode: LoggedEpisode) -> None:
            log.append(episode)
            on_episode(episode)

        waiting = [each for each in work.asked if each.key not in log.done]
        await play_all(player, waiting, concurrency, keep)


def _episodes_of(work: Work, output: Path) -> list[LoggedEpisode]:
    asked = work.asked
    wanted = {each.key for each in asked}
    return [episode for episode in read_episodes(output / EPISODES) if episode.key in wanted]


def _own_code(model: str, recipe: Recipe) -> tuple[str, ...]:
    return model, *(part.path for part in recipe.reward.parts), *recipe.rules.tools


def _model_stamp(model: str) -> dict[str, Any]:
    """What tells a model folder from the same folder with other weights."""
    folder = Path(model)
    files = sorted(folder.glob("*.safetensors")) + sorted(folder.glob("*.json")) if folder.is_dir() else []
    return {"name": model, "files": {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files}}
