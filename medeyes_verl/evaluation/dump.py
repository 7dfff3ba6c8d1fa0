"""Episodes from a validation of veRL: the JSON lines of `trainer.validation_data_dir`.

A dump holds each rollout as one text, without special tokens, and the figures that the reward manager logged. The
text is cut into turns and played again on the pictures of its row, so that boxes, faults and scores come from the
same code as everywhere; where the outcome differs from what training logged, that is counted.

A row is found by the `id` in the dump, or else by question and answer where only one row has them.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medeyes_verl.evaluation.episode_log import LoggedEpisode
from medeyes_verl.evaluation.player import Row, play_texts
from medeyes_verl.evaluation.recipe import Recipe

MAX_LINE_CHARACTERS = 1_000_000
"""Far above any rollout; a longer line is not read as JSON."""
_SEAM = re.compile(r"\s*\nuser\n<feedback>[^<]*</feedback>\s*\nassistant\n")
"""What a ChatML template leaves between two turns when special tokens are skipped."""


@dataclass(frozen=True, slots=True)
class Dumped:
    """The episodes of a dump."""

    episodes: list[LoggedEpisode]
    disagreeing: int
    """Those whose accuracy, played again, is not what training logged."""


def read_dump(
    path: Path, rows: Sequence[Row], recipe: Recipe, on_episode: Callable[[LoggedEpisode], None] = lambda _: None
) -> Dumped:
    """Play a dump's rollouts again, in the dump's order; rollouts of one question are its samples.

    Raises ValueError naming the line for one that is no rollout, or whose row cannot be told.
    """
    find = _Finder(rows)
    samples: dict[tuple[str, str], int] = defaultdict(int)
    episodes, disagreeing = [], 0
    for number, line in _lines(path):
        try:
            row = find(line)
            turns = _SEAM.split(line["output"])
            episode = asyncio.run(play_texts(row, recipe, turns, f"step {line.get('step')}", "on_policy"))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: not a rollout of a validation: {error!r}") from error
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
        question = episode.data_source, episode.id
        episodes.append(replace(episode, sample=samples[question]))
        samples[question] += 1
        disagreeing += "acc" in line and episode.scores.acc != line["acc"]
        on_episode(episodes[-1])
    if not episodes:
        raise ValueError(f"{path} holds no rollout")
    return Dumped(episodes, disagreeing)


class _Finder:
    """The row of a line."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._by_id: dict[str, list[Row]] = defaultdict(list)
        self._by_content: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in rows:
            self._by_id[row["extra_info"]["id"]].append(row)
            self._by_content[_prompt_text(row), row["reward_model"]["ground_truth"]].append(row)

    def __call__(self, line: Mapping[str, Any]) -> Row:
        if "id" in line:
            found = self._by_id[str(line["id"])]
        else:
            text = line["input"].rpartition("\nuser\n")[2] or line["input"]
            text = text.removeprefix("user\n").rstrip().removesuffix("assistant").rstrip()
            found = self._by_content[text, line["gts"]]
        if len(found) != 1:
            what = "no row of the tables is it" if not found else f"{len(found)} rows of the tables could be it"
            raise ValueError(f"{what} (answer {line['gts']!r}): give the validation's own --data")
        return found[0]


def _prompt_text(row: Row) -> str:
    """The user's message as a dump shows it: pictures leave nothing."""
    return str(row["prompt"][-1]["content"]).replace("<image>", "").rstrip()


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8") as lines:
        for number, text in enumerate(lines, 1):
            try:
                if len(text) > MAX_LINE_CHARACTERS:
                    raise ValueError(f"{len(text)} characters are too many for a rollout")
                line = json.loads(text)
                if not isinstance(line, dict) or not isinstance(line.get("output"), str):
                    raise ValueError("not a rollout of a validation")
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
            yield number, line
