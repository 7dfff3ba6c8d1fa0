"""Intervals and tests for accuracies over questions that share images.

Questions about one image are not independent. The intervals therefore count them as fewer: the effective number of
questions is the one that would give, drawn independently, the variance that is seen between images (Kish's design
effect by linearisation). All intervals keep a width where every answer is correct, every answer is incorrect, or two
runs agree on every question: a bootstrap, BCa included, has none there.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, stdtrit

LEVEL = 0.95
UPPER_TAIL = (1 + LEVEL) / 2
Z = NormalDist().inv_cdf(UPPER_TAIL)


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends of a confidence interval."""

    low: float
    high: float


def clustered_share_interval(
    values_Q: Sequence[float], clusters_Q: Sequence[Hashable], trials: int | None = None
) -> Interval | None:
    """Give the interval of an accuracy: Wilson's, on the effective number of questions.

    Where every image has one question with one sample this is `wilson_interval`.

    Args:
        values_Q: 0..1 a question: 0 or 1, or the mean of its samples.
        clusters_Q: the image of each question.
        trials: samples in all, at most as many of which count as independent; None: one a question.

    Returns:
        None with fewer than two images: one image says nothing about others.

    Raises:
        ValueError: the lengths differ, or a value lies outside of 0..1.

    Source: N. Dean, M. Pagano, Journal of Survey Statistics and Methodology 3 (2015); the correction for the number
    of clusters is that of E. Korn, B. Graubard, Survey Methodology 24 (1998).

    >>> clustered_share_interval([1, 1, 1, 1], "aabb")
    Interval(low=0.3423802275066532, high=1.0)
    """
    values = np.asarray(values_Q, dtype=np.float64)
    if ((values < 0) | (values > 1)).any():
        raise ValueError("an accuracy lies outside of 0..1")
    counts_C, sums_C = _by_cluster(values, clusters_Q)
    if len(counts_C) < 2:
        return None
    share = float(values.mean())
    effective = _effective_number(share * (1 - share), share, counts_C, sums_C)
    effective = min(effective, max(trials or 0, len(values)))
    return _wilson(share, effective)


def clustered_difference_interval(differences_Q: Sequence[float], clusters_Q: Sequence[Hashable]) -> Interval | None:
    """Give the interval of a mean paired difference: Bonett and Price's, on the effective number of questions.

    It is the normal interval after one question is added that only the first run answers correctly and one that only
    the second does. `differences_Q` lie in -1..1. None with fewer than two images.

    Raises:
        ValueError: the lengths differ, or a difference lies outside of -1..1.

    Source: D. Bonett, R. Price, Journal of Educational and Behavioral Statistics 37 (2012), recommended by
    M. Fagerland, S. Lydersen, P. Laake, Statistics in Medicine 33 (2014).

    >>> clustered_difference_interval([0, 0, 0, 0], "abcd")
    Interval(low=-0.4619679414498925, high=0.4619679414498925)
    """
    values = np.asarray(differences_Q, dtype=np.float64)
    if (abs(values) > 1).any():
        raise ValueError("a difference of two accuracies lies outside of -1..1")
    counts_C, sums_C = _by_cluster(values, clusters_Q)
    if len(counts_C) < 2:
        return None
    mean, square = float(values.mean()), float((values**2).mean())
    effective = min(_effective_number(square - mean**2, mean, counts_C, sums_C), len(values))
    centre = effective * mean / (effective + 2)
    square = (effective * square + 2) / (effective + 2)
    half = Z * math.sqrt((square - centre**2) / (effective + 2))
    return Interval(max(-1.0, centre - half), min(1.0, centre + half))


def wilson_interval(successes: int, trials: int) -> Interval:
    """Give the Wilson score interval of a share, its trials taken as independent.

    Raises:
        ValueError: no trials, or a number of successes that they cannot have.

    Source: E. B. Wilson, Probable inference, JASA 22 (1927).

    >>> wilson_interval(0, 10)
    Interval(low=0.0, high=0.27753279986288915)
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(
            f"{successes} successes in {trials} trials: the share needs 0 <= successes <= trials, trials > 0"
        )
    return _wilson(successes / trials, trials)


def mcnemar(first_right_Q: Sequence[bool], second_right_Q: Sequence[bool]) -> tuple[int, int, float]:
    """McNemar's exact test on the same questions: right only in the first, right only in the second, p.

    Two-sided: under the hypothesis that neither is better, each question on which they differ is a fair coin. It
    takes questions as independent.
    """
    pairs = list(zip(first_right_Q, second_right_Q, strict=True))
    only_first = sum(first and not second for first, second in pairs)
    only_second = sum(second and not first for first, second in pairs)
    tail = float(bdtr(min(only_first, only_second), only_first + only_second, 0.5))
    return only_first, only_second, min(1.0, 2 * tail)


def _wilson(share: float, trials: float) -> Interval:
    """SciPy's `binomtest(…).proportion_ci(method="wilson")`, for numbers of trials that are no whole numbers."""
    penalty = Z * Z / trials
    centre = share + penalty / 2
    half = Z * math.sqrt(share * (1 - share) / trials + penalty / (4 * trials))
    # at both ends rounding could leave the interval by 1e-17
    low, high = ((centre + sign * half) / (1 + penalty) for sign in (-1, 1))
    return Interval(0.0 if share == 0 else low, 1.0 if share == 1 else high)


def _by_cluster(
    values_Q: NDArray[np.float64], clusters_Q: Sequence[Hashable]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Questions and sum of values of each cluster."""
    if len(values_Q) != len(clusters_Q):
        raise ValueError(f"{len(values_Q)} values came with {len(clusters_Q)} clusters")
    numbers = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters_Q))}
    place_Q = np.array([numbers[cluster] for cluster in clusters_Q], dtype=np.int64)
    sums_C = np.bincount(place_Q, weights=values_Q).astype(np.float64)
    return np.bincount(place_Q).astype(np.float64), sums_C


def _effective_number(
    variance: float, mean: float, counts_C: NDArray[np.float64], sums_C: NDArray[np.float64]
) -> float:
    """How many independent questions with this variance each would give the variance seen between clusters.

    Where nothing varies, nothing tells how alike the questions of an image are: each image then counts as one
    question (Kish's number for full correlation, which also weighs images by their questions).
    """
    questions, clusters = float(counts_C.sum()), len(counts_C)
    residuals_C = sums_C - mean * counts_C
    between = clusters / (clusters - 1) * float((residuals_C**2).sum()) / questions**2
    fully_correlated = questions**2 / float((counts_C**2).sum())
    if between <= 1e-12 or variance <= 1e-12:
        return fully_correlated
    # few clusters tell a variance badly: Student's quantile by their number, relative to that of the questions
    students = stdtrit(questions - 1, UPPER_TAIL) / stdtrit(clusters - 1, UPPER_TAIL)
    return float(variance / between * questions / (questions - 1) * students**2)
