"""Intervals and tests against values worked out by hand or known."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medeyes_verl.evaluation.statistics import Interval, clustered_interval, mcnemar, wilson_interval


def test_without_spread_there_is_no_width() -> None:
    assert clustered_interval([1, 1, 1], "abc") == Interval(1.0, 1.0)
    assert clustered_interval([0.5, 0.5], "ab") == Interval(0.5, 0.5)


def test_two_pictures_by_hand() -> None:
    """Picture a has one right question, b three wrong ones. Draws: aa (1), ab or ba (1/4), bb (0), a quarter each."""
    interval = clustered_interval([1, 0, 0, 0], "abbb")
    assert interval == Interval(0.0, 1.0)
    few = clustered_interval([1, 0, 0, 0], "abbb", resamples=1)
    assert few is not None
    assert few.low in (0.0, 0.25, 1.0)


def test_one_picture_says_nothing_about_others() -> None:
    assert clustered_interval([1, 0, 1], "aaa") is None
    assert clustered_interval([], "") is None


def test_alone_in_its_picture_each_question_gives_the_usual_interval() -> None:
    """1,000 questions, 70% right: the normal interval is 0.7 ± 1.96·√(0.21/1000) = 0.7 ± 0.0284."""
    interval = clustered_interval([1] * 700 + [0] * 300, range(1000))
    assert interval is not None
    assert interval.low == pytest.approx(0.7 - 0.0284, abs=0.004)
    assert interval.high == pytest.approx(0.7 + 0.0284, abs=0.004)


def test_questions_that_share_pictures_count_as_fewer() -> None:
    """The same answers, in 100 pictures of 10 that are right or wrong together: √10 times as wide."""
    values = [1] * 700 + [0] * 300
    alone = clustered_interval(values, range(1000))
    together = clustered_interval(values, [place // 10 for place in range(1000)])
    assert alone is not None
    assert together is not None
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(math.sqrt(10), rel=0.15)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        shared = random.random(60)  # a picture's own difficulty, mean one half
        values = (random.random((60, 4)) < shared[:, None]).astype(float).ravel()
        interval = clustered_interval(values.tolist(), np.repeat(np.arange(60), 4).tolist(), resamples=400)
        assert interval is not None
        covered += interval.low <= 0.5 <= interval.high
    assert 0.90 <= covered / 200 <= 0.98


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="2 values came with 3 clusters"):
        clustered_interval([1, 0], "abc")


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


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_counts_that_cannot_be(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match=f"{successes} successes in {trials} trials"):
        wilson_interval(successes, trials)
