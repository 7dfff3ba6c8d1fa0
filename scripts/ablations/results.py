"""What a run came to, small enough to be kept beside the page that reports it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Final

from ablations.rows import Row
from medeyes_verl.data.atomic import write_json
from medeyes_verl.evaluation.episode_log import LoggedEpisode, read_episodes
from medeyes_verl.evaluation.grounding import grounding

VALIDATION: Final = {
    "accuracy": "val-core/phantom/acc/mean@1",
    "reward": "val-aux/phantom/reward/mean@1",
    "format": "val-aux/phantom/r_grammar/mean@1",
    "gazes": "val-aux/phantom/gazes/mean@1",
}
TRAINING: Final = {
    "accuracy": "medeyes/on_policy/acc",
    "gazes": "medeyes/on_policy/gazes",
    "format": "medeyes/on_policy/format_valid",
    "silent groups": "medeyes/on_policy/silent_groups",
    "entropy": "actor/entropy",
    "expert silent groups": "medeyes/expert/silent_groups",
    "expert probability": "medeyes/expert/probability_before",
    "expert clip fraction": "medeyes/expert/clip_fraction",
    "expert gradient weight": "medeyes/expert/gradient_weight",
    "expert advantage size": "medeyes/expert/advantage_size",
    "engine difference": "training/rollout_probs_diff_max",
    "seconds": "timing_s/step",
}
"""What is kept of veRL's log: our name, its name. What a run has not is left out."""
FOUND: Final = "found"
"""Beside them, from the episodes: the share of questions whose lesion a gaze has shown. An answer may be a guess."""
SHOWN: Final = 0.5
"""The least of a lesion that a gaze must hold."""
GENERATED: Final = ("medeyes/on_policy/rows", "medeyes/on_policy/written_tokens")

Curve = dict[str, dict[int, float]]
"""Name → step → value."""


@dataclass(frozen=True, slots=True)
class Result:
    """One run."""

    row: str
    seed: int
    policy: str
    """The mark of the policy it started from: runs from different ones are not to be compared."""
    minutes: float
    """Wall time, loading included."""
    tokens: int
    """That the policy wrote in training."""
    validation: Curve
    training: Curve

    @property
    def accuracy(self) -> float:
        """Of the last validation."""
        return self.last("accuracy")

    @property
    def steps(self) -> int:
        """The last of training; 0 where nothing was trained."""
        return max((step for curve in self.training.values() for step in curve), default=0)

    def last(self, name: str) -> float:
        """Of the last validation."""
        curve = self.validation[name]
        return curve[max(curve)]


def from_logs(
    row: Row, seed: int, policy: str, seconds: float, logs: Iterable[Path], validations: Iterable[Path]
) -> Result:
    """The result of a run from veRL's JSON-lines logs, of which later ones go on where earlier ones stopped, and from
    the episodes of its validations, each in a file NAME-STEP.jsonl.

    Raises ValueError where a log shows no validation.
    """
    steps: dict[int, dict[str, float]] = {}
    for log in logs:
        for line in log.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            steps.setdefault(int(entry["step"]), {}).update(entry["data"])
    validation, training = _curves(steps, VALIDATION), _curves(steps, TRAINING)
    if "accuracy" not in validation:
        raise ValueError(f"{row.name}, seed {seed}: its log shows no validation ({VALIDATION['accuracy']})")
    by_step = {int(path.stem.rpartition("-")[2]): path for path in validations}
    validation[FOUND] = {step: round(mean(map(_found, read_episodes(by_step[step]))), 5) for step in sorted(by_step)}
    tokens = sum(data[GENERATED[0]] * data[GENERATED[1]] for data in steps.values() if GENERATED[0] in data)
    return Result(row.name, seed, policy, round(seconds / 60, 2), round(tokens), validation, training)


def write_result(folder: Path, result: Result) -> None:
    write_json(_file(folder, result.row, result.seed), asdict(result))


def read_result(folder: Path, row: str, seed: int) -> Result | None:
    """The kept result of a run; None where there is none."""
    file = _file(folder, row, seed)
    if not file.is_file():
        return None
    kept = json.loads(file.read_text(encoding="utf-8"))
    for part in ("validation", "training"):
        kept[part] = {name: {int(step): value for step, value in curve.items()} for name, curve in kept[part].items()}
    return Result(**kept)


def read_results(folder: Path, rows: Sequence[Row]) -> dict[str, list[Result]]:
    """Row → its results, by seed; rows without any are left out."""
    found = {row.name: [read_result(folder, row.name, seed) for seed in row.seeds] for row in rows}
    return {name: kept for name, each in found.items() if (kept := [result for result in each if result])}


def _curves(steps: Mapping[int, Mapping[str, float]], names: Mapping[str, str]) -> Curve:
    curves = {
        ours: {step: round(float(steps[step][theirs]), 5) for step in sorted(steps) if theirs in steps[step]}
        for ours, theirs in names.items()
    }
    return {name: curve for name, curve in curves.items() if curve}


def _found(episode: LoggedEpisode) -> bool:
    best = grounding(episode.trace, episode.regions)
    return best is not None and best.coverage >= SHOWN


def _file(folder: Path, row: str, seed: int) -> Path:
    return folder / f"{row}-{seed}.json"
