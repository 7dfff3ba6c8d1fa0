"""What a training run's logs say of it: how it validated, what its change of accuracy is worth, how engines agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from omegaconf import DictConfig, OmegaConf

from medeyes_verl.evaluation.statistics import Interval, wilson_interval

NOTABLE_DIFFERENCE = 1e-4
"""Between the probabilities of policy and vLLM: float32 explains less, weights out of sync give more than 0.01."""


def validation_kind(config: Any) -> str:
    """Say how a run validates, by its composed configuration: sampled, and at which temperature, or greedy."""
    sampling = OmegaConf.select(config, "actor_rollout_ref.rollout.val_kwargs") if config is not None else None
    if sampling is None:
        return "validation, sampled or greedy: no configuration tells"
    if sampling.do_sample and sampling.temperature > 0:
        return f"sampled validation (temperature {sampling.temperature:g})"
    return "greedy validation"


def questions(config: DictConfig) -> int:
    """Count the questions of each validation."""
    files = config.data.val_files
    rows = sum(pq.read_metadata(file).num_rows for file in ([files] if isinstance(files, str) else files))
    most = int(config.data.val_max_samples)
    return rows if most < 0 else min(rows, most)


def engine_agreement(differences: list[float]) -> str:
    """Say how far the probabilities of sampled tokens lie apart in policy and vLLM, with the steps that stand out."""
    text = f"policy and vLLM: probabilities of the sampled tokens differ by at most {max(differences):.1e}"
    notable = [difference for difference in differences if difference > NOTABLE_DIFFERENCE]
    if not notable:
        return text
    rest = [difference for difference in differences if difference <= NOTABLE_DIFFERENCE]
    most = f"at most {max(rest):.1e} in the others" if rest else "no step is below it"
    return f"{text} ({len(notable)} of {len(differences)} steps above {NOTABLE_DIFFERENCE:.0e}, {most})"


def verdict(before: float, after: float, count: int, kind: str) -> tuple[str, str]:
    """Say whether accuracy changed by more than chance gives, and the line with both intervals.

    Raises:
        ValueError: an accuracy that is no share of `count` questions.
    """
    intervals = []
    for accuracy in (before, after):
        correct = round(accuracy * count)
        if abs(correct / count - accuracy) > 1e-4:
            raise ValueError(f"an accuracy of {accuracy} is no share of {count} questions")
        intervals.append(wilson_interval(correct, count))
    if intervals[0].high < intervals[1].low:
        meaning = "they do not overlap, so it rose by more than chance gives"
    elif intervals[1].high < intervals[0].low:
        meaning = "they do not overlap, so it FELL by more than chance gives"
    else:
        meaning = "they overlap, so this is no change that chance cannot give"
    said = (
        f"{kind} on {count} held-out questions before and after training, "
        f"with 95% Wilson intervals (questions taken as independent): {meaning}."
    )
    ends = " -> ".join(
        _with_interval(accuracy, each) for accuracy, each in zip((before, after), intervals, strict=True)
    )
    return said[0].upper() + said[1:], f"validation accuracy: {ends}"


def _with_interval(share: float, interval: Interval) -> str:
    return f"{share:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def read_steps(output: Path) -> dict[int, dict[str, float]]:
    """Step -> its metrics; a resumed run's later log wins."""
    steps: dict[int, dict[str, float]] = {}
    for log in sorted((output / "logs").glob("metrics-*.jsonl")):
        for line in log.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            steps.setdefault(entry["step"], {}).update(entry["data"])
    return steps
