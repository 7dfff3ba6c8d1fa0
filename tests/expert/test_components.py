"""Connected components: the sets that a walk over neighbours finds, in bounded time and memory."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medeyes_verl.expert.oracles.components import Component, components_of

Pixel = tuple[int, int]


def pixels_of(component: Component) -> set[Pixel]:
    rows, columns = component.window
    return {(rows.start + int(y), columns.start + int(x)) for y, x in np.argwhere(component.inside_hw)}


def walked(mask: np.ndarray) -> list[set[Pixel]]:
    """The same by definition: from pixel to neighbouring pixel, largest first, then in reading order."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    found = []
    for start in sorted(left):
        if start not in left:
            continue
        left.remove(start)
        reached, edge = {start}, [start]
        while edge:
            row, column = edge.pop()
            near = {(row + y, column + x) for y in (-1, 0, 1) for x in (-1, 0, 1)} & left
            left -= near
            reached |= near
            edge += near
        found.append(reached)
    return sorted(found, key=len, reverse=True)


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [
        (["#.#", ".#.", "#.#"], [5]),
        (["#..#", "#..#", "####"], [8]),
        (["##.#", "....", "#..#"], [2, 1, 1, 1]),
        (["....", "...."], []),
        (["#####", "....#", "#####", "#....", "#####"], [17]),
    ],
)
def test_components_by_hand(rows: list[str], sizes: list[int]) -> None:
    mask = np.array([[each == "#" for each in row] for row in rows])
    assert [each.pixels for each in components_of(mask, 1)] == sizes


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31), st.floats(0, 1), st.integers(0, 6))
def test_components_are_the_connected_sets(height: int, width: int, seed: int, share: float, min_pixels: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    found = components_of(mask, min_pixels)
    assert [pixels_of(each) for each in found] == [each for each in walked(mask) if len(each) >= min_pixels]
    for each in found:
        ys, xs = zip(*pixels_of(each), strict=True)
        assert each.window == (slice(min(ys), max(ys) + 1), slice(min(xs), max(xs) + 1))
        assert each.pixels == len(ys)


def test_a_mask_made_to_be_slow_takes_milliseconds() -> None:
    """A snake: labels that spread from pixel to neighbour need as many passes as it has bends."""
    side = 1024
    mask = np.zeros((side, side), bool)
    mask[::2] = True
    for bend, row in enumerate(range(1, side - 1, 2)):
        mask[row, -1 if bend % 2 == 0 else 0] = True
    start = time.process_time()
    (found,) = components_of(mask, 1)
    assert found.pixels == mask.sum()
    assert time.process_time() - start < 1.0  # 0.01 s; spreading labels took minutes


def test_a_million_specks_cost_nothing_but_a_pass() -> None:
    mask = np.zeros((2048, 2048), bool)
    mask[::2, ::2] = True
    mask[-3:, -3:] = True
    (found,) = components_of(mask, 9)
    assert found.window == (slice(2044, 2048), slice(2044, 2048))
