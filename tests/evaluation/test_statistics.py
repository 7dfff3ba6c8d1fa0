"""Intervals and tests against values worked out by hand or known."""

import math
from collections.abc import Callable
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from medeyes_verl.evaluation.statistics import (
    Interval,
    clustered_difference_interval,
    clustered_share_interval,
    mcnemar,
    wilson_interval,
)

values_and_clusters = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=60).filter(
    lambda pairs: len({cluster for _, cluster in pairs}) > 1
)


@pytest.mark.parametrize("value", [0, 1])
def test_alone_in_its_image_each_question_counts_fully_at_both_ends(value: int) -> None:
    assert clustered_share_interval([value] * 20, range(20)) == wilson_interval(20 * value, 20)


@pytest.mark.parametrize("value", [0, 1])
def test_where_nothing_varies_each_image_counts_as_one_question(value: int) -> None:
    assert clustered_share_interval([value] * 20, [place // 4 for place in range(20)]) == wilson_interval(5 * value, 5)


@given(st.lists(st.booleans(), min_size=2, max_size=200))
def test_alone_in_its_image_each_question_gives_wilson(values: list[bool]) -> None:
    interval, wilson = clustered_share_interval(values, range(len(values))), wilson_interval(sum(values), len(values))
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((wilson.low, wilson.high))


@given(values_and_clusters)
def test_a_share_has_a_width_and_mirrors(pairs: list[tuple[bool, int]]) -> None:
    values, clusters = [value for value, _ in pairs], [cluster for _, cluster in pairs]
    interval = clustered_share_interval(values, clusters)
    mirrored = clustered_share_interval([not value for value in values], clusters)
    assert interval is not None
    assert mirrored is not None
    assert 0 <= interval.low <= np.mean(values) <= interval.high <= 1
    assert interval.high - interval.low > 1 / len(values) / 4
    assert (interval.low, interval.high) == pytest.approx((1 - mirrored.high, 1 - mirrored.low))


@given(values_and_clusters, st.randoms(use_true_random=False))
def test_a_share_depends_on_no_order(pairs: list[tuple[bool, int]], random: Random) -> None:
    shuffled = random.sample(pairs, len(pairs))
    intervals = [clustered_share_interval([v for v, _ in each], [c for _, c in each]) for each in (pairs, shuffled)]
    assert intervals[0] is not None
    assert intervals[1] is not None
    assert (intervals[0].low, intervals[0].high) == pytest.approx((intervals[1].low, intervals[1].high))


@pytest.mark.parametrize("interval_of", [clustered_share_interval, clustered_difference_interval])
def test_one_image_says_nothing_about_others(interval_of: Callable[..., Interval | None]) -> None:
    assert interval_of([1, 0, 1], "aaa") is None
    assert interval_of([], "") is None


def test_alone_in_its_image_each_question_gives_the_usual_interval() -> None:
    """1,000 questions, 70% right: the normal interval is 0.7 ± 1.96·√(0.21/1000) = 0.7 ± 0.0284."""
    interval = clustered_share_interval([1] * 700 + [0] * 300, range(1000))
    assert interval is not None
    assert interval.low == pytest.approx(0.7 - 0.0284, abs=0.001)
    assert interval.high == pytest.approx(0.7 + 0.0284, abs=0.001)


def test_questions_that_share_images_count_as_fewer() -> None:
    """The same answers, in 100 images of 10 that are right or wrong together: √10 times as wide."""
    values = [1] * 700 + [0] * 300
    alone = clustered_share_interval(values, range(1000))
    together = clustered_share_interval(values, [place // 10 for place in range(1000)])
    assert alone is not None
    assert together is not None
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(math.sqrt(10), rel=0.03)


def test_more_samples_a_question_narrow_the_interval() -> None:
    """Means of 16 samples vary less than one sample does; they count as more than one question, and at most as 16."""
    means = np.random.default_rng(0).binomial(16, 0.5, 100) / 16
    one = clustered_share_interval(means.tolist(), range(100))
    many = clustered_share_interval(means.tolist(), range(100), trials=1600)
    assert one is not None
    assert many is not None
    assert (one.high - one.low) / (many.high - many.low) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize(("images", "share"), [(20, 0.5), (60, 0.5), (30, 0.97)])
def test_the_interval_covers_the_truth_as_often_as_it_says(images: int, share: float) -> None:
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        own = random.beta(4 * share, 4 * (1 - share), images)  # an image's own share; intraclass correlation 0.2
        clusters = np.repeat(np.arange(images), random.integers(1, 7, images))
        interval = clustered_share_interval((random.random(len(clusters)) < own[clusters]).tolist(), clusters.tolist())
        assert interval is not None
        covered += interval.low <= share <= interval.high
    assert 0.92 <= covered / 400 <= 0.99


@pytest.mark.parametrize(("images", "changed"), [(30, 0.1), (100, 0.3)])
def test_the_interval_of_a_difference_covers_the_truth(images: int, changed: float) -> None:
    """A share of the answers is turned over: of 70% correct ones as many, in the mean, as 0.4 of that are lost."""
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        own = random.beta(2.8, 1.2, images)
        clusters = np.repeat(np.arange(images), random.integers(1, 7, images))
        first = random.random(len(clusters)) < own[clusters]
        second = first ^ (random.random(len(clusters)) < changed)
        interval = clustered_difference_interval((second * 1 - first * 1).tolist(), clusters.tolist())
        assert interval is not None
        covered += interval.low <= -0.4 * changed <= interval.high
    assert 0.92 <= covered / 400 <= 0.99


def test_a_difference_by_hand() -> None:
    """10 of 100 won, 4 lost: p12 = 11/102, p21 = 5/102; 6/102 ± 1.96·√((16/102 − (6/102)²)/102) (Bonett and Price)."""
    interval = clustered_difference_interval([1] * 10 + [-1] * 4 + [0] * 86, range(100))
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((-0.0172, 0.1348), abs=5e-4)


@given(values_and_clusters, st.data())
def test_a_difference_has_a_width_and_mirrors(pairs: list[tuple[bool, int]], data: st.DataObject) -> None:
    clusters = [cluster for _, cluster in pairs]
    some = st.lists(st.sampled_from([-1, -0.5, 0, 0.5, 1]), min_size=len(pairs), max_size=len(pairs))
    values = data.draw(some | st.just([0] * len(pairs)) | st.just([1] * len(pairs)))
    interval = clustered_difference_interval(values, clusters)
    mirrored = clustered_difference_interval([-value for value in values], clusters)
    assert interval is not None
    assert mirrored is not None
    assert -1 <= interval.low < interval.high <= 1
    assert interval.low <= np.mean(values) + 1e-9
    assert interval.high >= np.mean(values) - 1e-9
    assert (interval.low, interval.high) == pytest.approx((-mirrored.high, -mirrored.low))


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="2 values came with 3 clusters"):
        clustered_share_interval([1, 0], "abc")


def test_values_must_be_what_they_are_called() -> None:
    with pytest.raises(ValueError, match=r"outside of 0\.\.1"):
        clustered_share_interval([1, -1], "ab")
    with pytest.raises(ValueError, match=r"outside of -1\.\.1"):
        clustered_difference_interval([2, 0], "ab")


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [
        (0, 0, 1.0),
        (1, 1, 1.0),
        (0, 5, 2 / 32),  # 2 · (1/2)^5
        (1, 5, 14 / 64),  # 2 · (1 + 6) / 2^6
        (2, 8, 112 / 1024),  # 2 · (1 + 10 + 45) / 2^10
        (9, 1, 22 / 1024),
    ],
)
def test_mcnemar_by_hand(only_first: int, only_second: int, p: float) -> None:
    first = [True] * only_first + [False] * only_second + [True, False] * 3
    second = [False] * only_first + [True] * only_second + [True, False] * 3
    assert mcnemar(first, second)[:2] == (only_first, only_second)
    assert mcnemar(first, second)[2] == pytest.approx(p, rel=0.01)


def test_mcnemar_is_the_share_of_coin_tosses_at_least_as_uneven() -> None:
    """All 2^9 ways in which nine differing questions could have fallen, counted."""
    for heads in range(10):
        first = [place < heads for place in range(9)]
        uneven = sum(abs(2 * sum(way) - 9) >= abs(2 * heads - 9) for way in product((0, 1), repeat=9))
        assert mcnemar(first, [not right for right in first])[2] == pytest.approx(uneven / 2**9)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_mcnemar_does_not_mind_the_order_of_the_runs(pairs: list[tuple[bool, bool]]) -> None:
    first, second = [one for one, _ in pairs], [other for _, other in pairs]
    forth, back = mcnemar(first, second), mcnemar(second, first)
    assert forth == (back[1], back[0], back[2])
    assert 0 < forth[2] <= 1


def test_mcnemar_of_many_questions_is_near_the_normal_approximation() -> None:
    """|2400 − 2600| less 1 for continuity, over √5000: 2.814 deviations, 0.00489 on both sides."""
    first = [True] * 2400 + [False] * 2600
    assert mcnemar(first, [not right for right in first])[2] == pytest.approx(0.00489, rel=0.01)


def test_wilson_agrees_with_published_values() -> None:
    """Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    for successes, trials, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        interval = wilson_interval(successes, trials)
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_wilson_has_a_width_everywhere_and_mirrors(counts: tuple[int, int]) -> None:
    successes, trials = counts
    interval, mirrored = wilson_interval(successes, trials), wilson_interval(trials - successes, trials)
    assert 0 <= interval.low <= successes / trials <= interval.high <= 1
    assert interval.high - interval.low > 0
    assert (interval.low, interval.high) == pytest.approx((1 - mirrored.high, 1 - mirrored.low))


@given(st.integers(1, 10_000).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_wilson_and_mcnemar_are_those_of_scipy(counts: tuple[int, int]) -> None:
    successes, trials = counts
    found = wilson_interval(successes, trials)
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    first = [True] * successes + [False] * (trials - successes)
    p = mcnemar(first, [not right for right in first])[2]
    assert p == pytest.approx(
        binomtest(successes, trials, 0.5).pvalue, rel=1e-6, abs=1e-200
    )  # SciPy underflows to 0 first


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_counts_that_cannot_be(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match=f"{successes} successes in {trials} trials"):
        wilson_interval(successes, trials)
