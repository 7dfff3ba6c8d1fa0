"""The report's two tables: validation before and after training, and each log of episodes in figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medeyes_verl.evaluation.episode_log import LoggedEpisode
from medeyes_verl.evaluation.report.run import Run

_VALIDATED = (
    ("accuracy", r"val-core/(.+)/acc/mean@(\d+)"),
    ("reward", r"val-aux/(.+)/reward/mean@(\d+)"),
    ("format valid", r"val-aux/(.+)/r_grammar/mean@(\d+)"),
    ("gazes", r"val-aux/(.+)/gazes/mean@(\d+)"),
)


@dataclass(frozen=True, slots=True)
class Change:
    """One metric of a run's validation, at its first and its last step."""

    run: str
    source: str
    metric: str
    first_step: int
    first: float
    last_step: int
    last: float


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One log's episodes of one benchmark. Shares are None where there was nothing to share."""

    label: str
    source: str
    episodes: int
    overall: float | None
    closed: float | None
    multiple_choice: float | None
    open: float | None
    well_formed: float | None
    gazes: float | None
    no_gaze: float | None
    errors: int


def before_and_after(runs: Sequence[Run]) -> list[Change]:
    """First and last validation of each run, a row a metric; nothing for a run with fewer than two."""
    changes = []
    for run in runs:
        for metric, pattern in _VALIDATED:
            for name in sorted({name for data in run.steps.values() for name in data}):
                match = re.fullmatch(pattern, name)
                points = [(step, run.steps[step][name]) for step in sorted(run.steps) if name in run.steps[step]]
                if match and len(points) > 1:
                    changes.append(Change(run.name, match.group(1), metric, *points[0], *points[-1]))
    return changes


def episode_table(runs: Sequence[Run]) -> list[ScoreRow]:
    """A row for each benchmark in each log; accuracies of question types are kept apart. Experts are left out."""
    rows = []
    for episode_set in (each for run in runs for each in run.episode_sets):
        own = [episode for episode in episode_set.episodes if episode.stream != "expert"]
        for source in sorted({episode.data_source for episode in own}):
            rows.append(_score_row(episode_set.label, source, [e for e in own if e.data_source == source]))
    return rows


def _score_row(label: str, source: str, episodes: Sequence[LoggedEpisode]) -> ScoreRow:
    def accuracy(question_type: str) -> float | None:
        return _mean([e for e in episodes if e.question_type == question_type], lambda e: e.scores.acc)

    return ScoreRow(
        label=label,
        source=source,
        episodes=len(episodes),
        overall=_mean(episodes, lambda e: e.scores.acc),
        closed=accuracy("closed"),
        multiple_choice=accuracy("multiple_choice"),
        open=accuracy("open"),
        well_formed=_mean(episodes, lambda e: float(e.record.well_formed)),
        gazes=_mean(episodes, lambda e: float(len(e.record.boxes))),
        no_gaze=_mean(episodes, lambda e: float(not e.record.boxes)),
        errors=sum(episode.error is not None for episode in episodes),
    )


def _mean(episodes: Sequence[LoggedEpisode], value: Callable[[LoggedEpisode], float]) -> float | None:
    return sum(map(value, episodes)) / len(episodes) if episodes else None
