"""The record of played episodes: JSON lines, one episode a line, everything a table or a page about it needs.

A line is self-contained: the row it was played on, every word of the model, every crop's box, the scores. Lines
are appended and brought to disk in batches, so a killed run loses at most its last batch; a line that was cut off
in the middle is removed when the log is opened again, and its episode is played again. Episodes are told apart by
their key: reading keeps the last line of each, so an episode whose first try failed can be played anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from medeyes_verl.data.row import Region
from medeyes_verl.evaluation.unversioned_log import with_trace
from medeyes_verl.gaze.geometry import Box
from medeyes_verl.gaze.trace import EpisodeTrace

Stream = Literal["on_policy", "expert"]
"""Who wrote the turns: the policy, or an expert whose stored trajectory was played."""
Key = tuple[str, str, int]
"""What tells episodes of a log apart: data source, the question's id, the number of the sample."""

EPISODES_A_BATCH = 16
"""Episodes between two writes to disk: what a killed run has to play again."""


@dataclass(frozen=True, slots=True)
class Scores:
    """How one episode did, each in [0, 1]. `acc` is the reward's rule; published rules stand beside it."""

    acc: float
    """1 for a right answer, by `medeyes_verl.reward.answer.is_correct`."""
    r_acc: float
    """The reward's r_acc: as `acc`, or the token F1 where the recipe asks for it."""
    r_grammar: float
    r_div: float
    token_f1: float
    """Token F1 of an open answer; `acc` for other types."""
    medevalkit: float | None
    """MedEvalKit's rule; None for multiple choice, which it draws at random."""
    llava_med_recall: float | None
    """LLaVA-Med's recall of an open answer, its substring rule for yes/no; None for multiple choice."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """The user's own reward parts by name, before their weights; empty where one of them failed."""
    error: str | None = None
    """Why a part of the user's own could not score the episode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEpisode:
    """One episode, from its row to its scores."""

    id: str
    """The question's stable id within its data source."""
    sample: int
    """Which of several samples of the same question, from 0."""
    data_source: str
    split: str
    question: str
    question_type: str
    """closed, multiple_choice or open."""
    options: tuple[str, ...]
    """Texts of a multiple-choice question's options, without letters."""
    ground_truth: str
    """For multiple choice the letter of the right option."""
    images: tuple[str, ...]
    """Paths of the original pictures."""
    organ: str | None
    modality: str | None
    location: str | None
    regions: tuple[Region, ...]
    """What the source marks on the first picture."""
    trace: EpisodeTrace
    scores: Scores
    seconds: float
    """From the first request to the end of the episode."""
    model: str
    """Name of the model that was asked; of the source, for an expert."""
    stream: Stream = "on_policy"
    prompts_differing: int | None = None
    """Turns before which the server's prompt was not, token for token, what training feeds; None: it did not tell."""
    error: str | None = None
    """Why the episode was broken off from outside, such as a request the server refused; it counts as wrong."""

    @property
    def key(self) -> Key:
        return self.data_source, self.id, self.sample

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types: corners of boxes and regions as numbers."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {
            **plain,
            "options": list(self.options),
            "images": list(self.images),
            "regions": [region.as_dict() for region in self.regions],
            "trace": self.trace.as_dict(),
            "scores": {name: getattr(self.scores, name) for name in Scores.__slots__},
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> LoggedEpisode:
        """The inverse of `as_dict`; also reads the lines of logs from before traces had a version.

        Raises ValueError for anything else.
        """
        try:
            if "trace" not in plain:
                plain = with_trace(plain)
            return cls(
                **{
                    **plain,
                    "options": tuple(plain["options"]),
                    "images": tuple(plain["images"]),
                    "regions": tuple(region_of(region) for region in plain["regions"]),
                    "trace": EpisodeTrace.from_dict(plain["trace"]),
                    "scores": Scores(**plain["scores"]),
                }
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a logged episode: {error!r}") from error


def region_of(plain: Mapping[str, Any]) -> Region:
    """A region from its columns in a table or a log."""
    box = Box(*(float(plain[side]) for side in ("x1", "y1", "x2", "y2")))
    return Region(box, plain["label"], bool(plain["target"]))


def read_episodes(path: Path) -> list[LoggedEpisode]:
    """The episodes of a log, the last line of each key, in the order of their first lines.

    A last line without its line end was cut off by a killed writer and is left out. Raises FileNotFoundError, and
    ValueError naming file and line for a line that is no episode.
    """
    found: dict[Key, LoggedEpisode] = {}
    for episode in _lines(path):
        found[episode.key] = episode
    return list(found.values())


def _lines(path: Path) -> Iterator[LoggedEpisode]:
    with path.open(encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith("\n"):
                return
            try:
                yield LoggedEpisode.from_dict(json.loads(line))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error


class EpisodeLog:
    """The one writer of a log. Opening it cuts off a half-written last line; `done` is what need not be played.

    Use as a context manager: leaving it, by an exception too, brings everything to disk.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        _cut_half_line(path)
        self.done: set[Key] = {episode.key for episode in read_episodes(path) if episode.error is None}
        """Episodes that are in the log and went through."""
        self._file = path.open("ab")
        self._unsynced = 0

    def append(self, episode: LoggedEpisode) -> None:
        """Add one episode; on disk at the latest `EPISODES_A_BATCH` later."""
        line = json.dumps(episode.as_dict(), ensure_ascii=False, allow_nan=False) + "\n"
        self._file.write(line.encode("utf-8", errors="replace"))
        if episode.error is None:
            self.done.add(episode.key)
        self._unsynced += 1
        if self._unsynced >= EPISODES_A_BATCH:
            self._sync()

    def __enter__(self) -> EpisodeLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sync()
        self._file.close()

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._unsynced = 0


def _cut_half_line(path: Path) -> None:
    with path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            file.truncate(whole)
