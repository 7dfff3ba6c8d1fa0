"""Intervals and tests for accuracies over questions that share pictures.

Questions about one picture are not independent, so whole pictures are drawn again, not questions (the cluster
bootstrap); an interval that ignored it would be too narrow. Numpy is all that is needed.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

RESAMPLES = 2000
"""Enough that the ends of a 95% interval move by about a tenth of its half-width from seed to seed."""
LEVEL = 0.95
SEED = 0
"""Fixed: the same episodes give the same interval."""
DRAWS_AT_ONCE = 4_000_000
"""Clusters drawn in one go: bounds the memory to 64 MB."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends of a confidence interval."""

    low: float
    high: float


def clustered_interval(
    values_Q: Sequence[float], clusters_Q: Sequence[Hashable], resamples: int = RESAMPLES
) -> Interval | None:
    """Percentile bootstrap interval of the mean over questions, whole clusters (pictures) drawn with replacement.

    A resample's mean is the sum of its questions' values over their number, so a picture with many questions
    weighs as much as it does in the estimate itself. None with fewer than two clusters: one picture says nothing
    about others. Raises ValueError when the lengths differ.
    """
    if len(values_Q) != len(clusters_Q):
        raise ValueError(f"{len(values_Q)} values came with {len(clusters_Q)} clusters")
    numbers = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters_Q))}
    if len(numbers) < 2:
        return None
    place_Q = np.array([numbers[cluster] for cluster in clusters_Q])
    sums_C = np.bincount(place_Q, weights=np.asarray(values_Q, dtype=np.float64))
    counts_C = np.bincount(place_Q).astype(np.float64)
    random = np.random.default_rng(SEED)
    means: list[np.ndarray] = []
    done, step = 0, max(1, DRAWS_AT_ONCE // len(numbers))
    while done < resamples:
        drawn_RC = random.integers(len(numbers), size=(min(step, resamples - done), len(numbers)))
        means.append(sums_C[drawn_RC].sum(axis=1) / counts_C[drawn_RC].sum(axis=1))
        done += len(drawn_RC)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Interval(float(low), float(high))


def wilson_interval(successes: int, trials: int) -> Interval:
    """Give the Wilson score interval of a share, its trials taken as independent.

    It keeps a width at 0% and 100%, where a bootstrap and the normal approximation have none.

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
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    share, penalty = successes / trials, z * z / trials
    centre = share + penalty / 2
    half = z * math.sqrt(share * (1 - share) / trials + penalty / (4 * trials))
    # at both ends rounding could leave the interval by 1e-17
    low, high = ((centre + sign * half) / (1 + penalty) for sign in (-1, 1))
    return Interval(0.0 if successes == 0 else low, 1.0 if successes == trials else high)


def mcnemar(first_right_Q: Sequence[bool], second_right_Q: Sequence[bool]) -> tuple[int, int, float]:
    """McNemar's exact test on the same questions: right only in the first, right only in the second, p.

    Two-sided: under the hypothesis that neither is better, each question on which they differ is a fair coin. Exact
    for any number of questions (whole numbers throughout). It takes questions as independent.
    """
    pairs = list(zip(first_right_Q, second_right_Q, strict=True))
    only_first = sum(first and not second for first, second in pairs)
    only_second = sum(second and not first for first, second in pairs)
    differing, fewer = only_first + only_second, min(only_first, only_second)
    ways, term = 0, 1
    for heads in range(fewer + 1):
        ways += term
        term = term * (differing - heads) // (heads + 1)  # C(n, k+1) from C(n, k)
    return only_first, only_second, min(1.0, 2 * ways / 2**differing)
