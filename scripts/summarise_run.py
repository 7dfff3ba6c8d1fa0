"""Print what a training run achieved, from its JSON-lines logs: ``python scripts/summarise_run.py OUTPUT``."""

import json
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
import typer
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from medeyes_verl.evaluation.run_folder import recipe_file
from medeyes_verl.evaluation.statistics import Interval, wilson_interval

ROWS = [
    ("reward", "val-aux/{source}/reward/mean@1"),
    ("accuracy", "val-core/{source}/acc/mean@1"),
    ("format-valid rate", "val-aux/{source}/r_grammar/mean@1"),
    ("gazes a trajectory", "val-aux/{source}/gazes/mean@1"),
]
NOTABLE_DIFFERENCE = 1e-4
"""Between the probabilities of policy and vLLM: float32 explains less, weights out of sync give more than 0.01."""


def main(output: Annotated[Path, typer.Argument(help="the run's output directory, with logs/metrics-*.jsonl")]) -> None:
    """Print validation before and after training, step time, the experts' stream, and what the change is worth."""
    console = Console(soft_wrap=True, highlight=False)
    steps = read_steps(output)
    validations = [step for step in sorted(steps) if any(key.startswith("val-core/") for key in steps[step])]
    if len(validations) < 2:
        raise typer.BadParameter(f"{output}/logs holds no validation before and after training")
    first, last = steps[validations[0]], steps[validations[-1]]
    source = next(key for key in first if key.startswith("val-core/")).split("/")[1]
    for title, template in ROWS:
        assert template.format(source=source) in first, f"the log lacks {template} for {title}"

    file = recipe_file(output)
    if file is None:
        raise typer.BadParameter(f"{output} holds no .hydra/config.yaml, so how it validated is not known")
    config = OmegaConf.load(file)
    assert isinstance(config, DictConfig)
    table = Table(
        "",
        f"before (step {validations[0]})",
        f"after (step {validations[-1]})",
        title=f"{source}, {validation_kind(config)}",
    )
    for title, template in ROWS:
        key = template.format(source=source)
        table.add_row(title, f"{first[key]:.3f}", f"{last[key]:.3f}")
    console.print(table)

    training = [steps[step] for step in sorted(steps) if "timing_s/step" in steps[step]]
    mean = lambda key: sum(row[key] for row in training if key in row) / max(1, sum(key in row for row in training))  # noqa: E731
    console.print(f"steps: {len(training)}, {mean('timing_s/step'):.1f} s each")
    console.print(engine_agreement([row["training/rollout_probs_diff_max"] for row in training]))
    if any("medeyes/expert/rows" in row for row in training):
        console.print(
            f"experts: {mean('medeyes/expert/rows'):.0f} rows a step, reward {mean('medeyes/expert/reward'):.2f}, "
            f"zero-advantage groups {mean('medeyes/expert/silent_groups'):.0%}"
        )
    console.print(f"logs: {output / 'logs'}   checkpoints: {output / 'checkpoints'}")
    accuracy = ROWS[1][1].format(source=source)
    console.print(*verdict(first[accuracy], last[accuracy], questions(config), validation_kind(config)), sep="\n")


def validation_kind(config: DictConfig) -> str:
    """Say how a run validates: sampled, and at which temperature, or greedy."""
    sampling = config.actor_rollout_ref.rollout.val_kwargs
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
    most = f"at most {max(rest):.1e} in the other steps" if rest else "no step is below it"
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


if __name__ == "__main__":
    typer.run(main)
