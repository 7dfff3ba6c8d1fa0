"""What a run's folder holds that can be reported: metrics of training steps, logged episodes, an expert store.

Files are known by what is in them, not by their names: a JSON-lines file is a log of metrics when its first line
is one of veRL's file logger ({"step": …, "data": {…}}), a log of episodes when it is a logged episode.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from medeyes_verl.evaluation.episode_log import LoggedEpisode, read_episodes
from medeyes_verl.evaluation.run_folder import recipe_file
from medeyes_verl.evaluation.training_summary import validation_kind
from medeyes_verl.expert.store import FILE, TrajectoryStore

DEEPEST = 3
"""Folders below the run's own in which logs are looked for."""
SKIPPED_FOLDERS = frozenset({"checkpoints", "images", "experts", "ray", "wandb"})
MOST_LOGS = 200
FIRST_LINE_BYTES = 1_000_000
"""A longer first line belongs to no log of ours."""

Steps = dict[int, dict[str, float]]


@dataclass(frozen=True, slots=True)
class EpisodeSet:
    """The episodes of one log: one evaluation, or one validation during training."""

    label: str
    """Short and unique within the report."""
    episodes: tuple[LoggedEpisode, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """One run, read."""

    name: str
    """Unique within the report."""
    steps: Steps
    """Training step -> metric -> value; where logs overlap (a run was resumed) the later file wins."""
    episode_sets: tuple[EpisodeSet, ...]
    experts: TrajectoryStore | None
    notes: tuple[str, ...] = field(default=())
    """What was left out, for the reader."""
    validation: str = "validation"
    """How it validated: sampled or greedy, where its configuration tells."""


def read_runs(paths: Sequence[Path], experts: Path | None = None) -> list[Run]:
    """Read each run's folder. `experts` stands in for the store that is looked for beside each run's data.

    Raises FileNotFoundError for a path that is no folder, ValueError for a folder without anything to report or
    for a damaged log.
    """
    names = _unique_names(paths)
    store = None if experts is None else TrajectoryStore(experts)
    return [_read_run(path, name, store, len(paths) > 1) for path, name in zip(paths, names, strict=True)]


def metrics_logs(run: Path) -> list[Path]:
    """Logs of metrics in a run's folder, by path."""
    return [log for log in _logs(run) if _kind(log) == "metrics"]


def _read_run(path: Path, name: str, experts: TrajectoryStore | None, several: bool) -> Run:
    if not path.is_dir():
        problem = "a file, not a folder" if path.exists() else "no such folder"
        raise FileNotFoundError(f"{path}: {problem}; name the output directory of a run")
    steps: Steps = {}
    episode_sets: list[EpisodeSet] = []
    notes: list[str] = []
    for log in _logs(path):
        kind = _kind(log)
        if kind == "metrics":
            notes += _add_steps(steps, log)
        elif kind == "episodes":
            label = _label(log.relative_to(path))
            label = f"{name}: {label}" if several else label
            episode_sets.append(EpisodeSet(label, tuple(read_episodes(log))))
    if not steps and not episode_sets:
        raise ValueError(
            f"{path}: nothing to report: no log of metrics (logs/metrics-*.jsonl, veRL's file logger) and no log of "
            "episodes was found in it"
        )
    beside = path / "data" / "experts"
    if experts is None and (beside / FILE).is_file():
        experts = TrajectoryStore(beside)
    file = recipe_file(path)
    validation = validation_kind(None if file is None else OmegaConf.load(file))
    return Run(name, steps, tuple(sorted(episode_sets, key=_step_of)), experts, tuple(notes), validation)


def _logs(folder: Path, depth: int = 0) -> Iterator[Path]:
    """JSON-lines files by path, folders that cannot hold a log left out. Links are not followed."""
    entries = sorted(folder.iterdir())
    yield from [entry for entry in entries if entry.suffix == ".jsonl" and entry.is_file()][:MOST_LOGS]
    if depth < DEEPEST:
        for entry in entries:
            if (
                entry.is_dir()
                and not entry.is_symlink()
                and entry.name not in SKIPPED_FOLDERS
                and not entry.name.startswith(".")
            ):
                yield from _logs(entry, depth + 1)


def _kind(log: Path) -> Literal["metrics", "episodes"] | None:
    with log.open("rb") as file:
        try:
            first = json.loads(file.readline(FIRST_LINE_BYTES))
        except ValueError:
            return None
    if not isinstance(first, dict):
        return None
    if isinstance(first.get("step"), int) and isinstance(first.get("data"), dict):
        return "metrics"
    return "episodes" if "ground_truth" in first and ("trace" in first or {"record", "turns"} <= first.keys()) else None


def _add_steps(steps: Steps, log: Path) -> list[str]:
    """Merge a log of metrics into `steps`; a last line cut off by a killed run is left out and noted."""
    notes: list[str] = []
    lines = log.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            data = {name: float(value) for name, value in entry["data"].items() if _is_finite(value)}
            steps.setdefault(int(entry["step"]), {}).update(data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if number < len(lines):
                raise ValueError(f"{log}, line {number}: not a line of veRL's file logger: {error!r}") from error
            notes.append(f"{log.name}: the last line is cut off and was left out")
    return notes


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _label(relative: Path) -> str:
    """logs/validation-12.jsonl -> validation-12; evaluation/x/episodes.jsonl -> evaluation/x."""
    parts = [part for part in relative.with_suffix("").parts if part not in ("logs", "episodes")]
    return "/".join(parts) or "episodes"


def _step_of(episode_set: EpisodeSet) -> tuple[bool, int, str]:
    """Validations in the order of their steps, before evaluations by name."""
    step = episode_set.label.rsplit("-", 1)[-1]
    return (not step.isdigit(), int(step) if step.isdigit() else 0, episode_set.label)


def _unique_names(paths: Sequence[Path]) -> list[str]:
    """The folders' own names, with as many parents as tells them apart."""
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) != len(resolved):
        raise ValueError("the same run is named twice")
    for depth in range(1, max(len(path.parts) for path in resolved) + 1):
        names = ["/".join(path.parts[-depth:]) for path in resolved]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("different paths have different parts")
