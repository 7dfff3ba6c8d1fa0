"""Two runs on the same questions: is the one really better?

Only questions that both runs answered are compared, and how many were left out is said. The difference is paired:
each question's two results are subtracted first, so that hard questions cancel out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from medeyes_verl.evaluation.episode_log import LoggedEpisode
from medeyes_verl.evaluation.statistics import Interval, clustered_difference_interval, mcnemar
from medeyes_verl.evaluation.summary import by_question, majority
from medeyes_verl.evaluation.tables import table


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs on one benchmark."""

    benchmark: str
    """Data source and split."""
    questions: int
    """That both runs have."""
    left_out: int
    """That only one of them has."""
    first: float
    """Accuracy of the first run on the common questions, mean over samples."""
    second: float
    interval: Interval | None
    """Of second − first, 95%, clustered by image; None with fewer than two images."""
    only_first: int
    """Questions that only the first run got right; by majority where a run has several samples."""
    only_second: int
    p: float
    """McNemar's exact test, two-sided."""

    @property
    def difference(self) -> float:
        """Second − first."""
        return self.second - self.first


def compare(first: Sequence[LoggedEpisode], second: Sequence[LoggedEpisode]) -> list[Comparison]:
    """By benchmark and split. Raises ValueError when the runs have no question in common, or disagree about one."""
    ones, others = by_question(first), by_question(second)
    common = ones.keys() & others.keys()
    if not common:
        raise ValueError("the runs have no question in common: they were played on different tables")
    groups: dict[str, list[tuple[list[LoggedEpisode], list[LoggedEpisode]]]] = defaultdict(list)
    for key in ones:
        if key in common:
            one, other = ones[key][0], others[key][0]
            if (one.question, one.ground_truth) != (other.question, other.ground_truth):
                raise ValueError(f"{key[0]} question {key[1]!r} is not the same in both runs: their tables differ")
            groups[f"{one.data_source}/{one.split}"].append((ones[key], others[key]))
    alone: dict[str, int] = defaultdict(int)
    for key in ones.keys() ^ others.keys():
        episode = (ones.get(key) or others[key])[0]
        alone[f"{episode.data_source}/{episode.split}"] += 1
    return [_compared(name, pairs, alone[name]) for name, pairs in sorted(groups.items())]


def comparison_table(comparisons: Sequence[Comparison], first: str, second: str) -> str:
    """As Markdown."""
    header = ("benchmark/split", "questions", first, second, "difference", "only the first", "only the second", "p")
    rows = [
        (
            each.benchmark,
            f"{each.questions}" + (f" ({each.left_out} in one run only)" if each.left_out else ""),
            f"{100 * each.first:.1f}",
            f"{100 * each.second:.1f}",
            _difference(each),
            str(each.only_first),
            str(each.only_second),
            f"{each.p:.3g}",
        )
        for each in comparisons
    ]
    note = (
        "Accuracy in %. Difference: second − first, 95% interval of the paired difference, clustered by image. "
        "Then the questions that only one run got right, and McNemar's exact test of them (two-sided)."
    )
    return f"{table(header, rows)}\n\n{note}\n"


def _compared(name: str, pairs: list[tuple[list[LoggedEpisode], list[LoggedEpisode]]], left_out: int) -> Comparison:
    first_Q = [fmean(sample.scores.acc for sample in one) for one, _ in pairs]
    second_Q = [fmean(sample.scores.acc for sample in other) for _, other in pairs]
    difference_Q = [second - first for first, second in zip(first_Q, second_Q, strict=True)]
    only_first, only_second, p = mcnemar(
        [majority(one).scores.acc == 1 for one, _ in pairs], [majority(other).scores.acc == 1 for _, other in pairs]
    )
    return Comparison(
        benchmark=name,
        questions=len(pairs),
        left_out=left_out,
        first=fmean(first_Q),
        second=fmean(second_Q),
        interval=clustered_difference_interval(difference_Q, [one[0].images[0] for one, _ in pairs]),
        only_first=only_first,
        only_second=only_second,
        p=p,
    )


def _difference(comparison: Comparison) -> str:
    text = f"{100 * comparison.difference:+.1f}"
    if comparison.interval is not None:
        text += f" [{100 * comparison.interval.low:+.1f}, {100 * comparison.interval.high:+.1f}]"
    return text
