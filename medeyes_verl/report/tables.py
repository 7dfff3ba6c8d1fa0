"""The report's two tables: validation before and after training, and each log of episodes in figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from medeyes_verl.evaluation.run_logs import Run
from medeyes_verl.evaluation.summary import QUESTION_TYPES, Figures, summarise
from medeyes_verl.evaluation.tables import accuracy

_VALIDATED = (
    ("accuracy", r"val-core/(.+)/acc/mean@\d+"),
    ("reward", r"val-aux/(.+)/reward/mean@\d+"),
    ("format valid", r"val-aux/(.+)/r_grammar/mean@\d+"),
    ("gazes", r"val-aux/(.+)/gazes/mean@\d+"),
)
EPISODE_COLUMNS = (
    *QUESTION_TYPES,
    "overall",
    "format valid",
    "gazes",
    "no gaze",
    "best IoU",
    "target covered",
    "broken off",
)


@dataclass(frozen=True, slots=True)
class Change:
    """One metric of a run's validation, at its first and its last step."""

    run: str
    how: str
    """Whether it was sampled or greedy."""
    source: str
    metric: str
    first_step: int
    first: float
    last_step: int
    last: float


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One log's episodes of one benchmark and split."""

    label: str
    source: str
    questions: int
    cells: tuple[str, ...]
    """One for each of EPISODE_COLUMNS."""


def before_and_after(runs: Sequence[Run]) -> list[Change]:
    """First and last validation of each run, a row a metric; nothing for a run with fewer than two."""
    changes = []
    for run in runs:
        for metric, pattern in _VALIDATED:
            for name in sorted({name for data in run.steps.values() for name in data}):
                match = re.fullmatch(pattern, name)
                points = [(step, run.steps[step][name]) for step in sorted(run.steps) if name in run.steps[step]]
                if match and len(points) > 1:
                    changes.append(Change(run.name, run.validation, match.group(1), metric, *points[0], *points[-1]))
    return changes


def episode_table(runs: Sequence[Run]) -> list[ScoreRow]:
    """A row for each benchmark and split in each log; accuracies of question types apart. Experts are left out."""
    rows = []
    for episode_set in (each for run in runs for each in run.episode_sets):
        own = [episode for episode in episode_set.episodes if episode.stream != "expert"]
        for source, benchmark in summarise(own).items():
            overall = benchmark["overall"]
            cells = _cells(benchmark["question_type"], overall)
            rows.append(ScoreRow(episode_set.label, source, overall["questions"], cells))
    return rows


def _cells(by_type: dict[str, Figures], overall: Figures) -> tuple[str, ...]:
    return (
        *(accuracy(by_type[kind]) if kind in by_type else "–" for kind in QUESTION_TYPES),
        accuracy(overall),
        f"{100 * overall['format_valid']:.1f}",
        f"{overall['gazes']:.2f}",
        f"{100 * overall['no_gaze']:.1f}",
        _optional(overall["best_iou"]),
        _optional(overall["best_coverage"]),
        str(overall["broken_off"]),
    )


def _optional(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
