"""Scripted experts: trajectories from what the benchmark itself marks, without an oracle.

*Candidates* (rows that mark a target, such as phantom's): the expert visits the candidates in random order, finds the
wrong ones empty, stops at the target and names it. Boxes have one size and lie on a grid, so that a small
policy can learn to write them; a jitter makes the expert human. *Sweep* (all other rows): the whole
picture, one closer look, and the known answer; its words claim no finding, since nobody made one.

Everything is drawn from (seed, question id) alone: the same call gives the same trajectories in whatever
order, and however often it was interrupted.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medeyes_verl.expert.framing import GRID_FRAMING, Framing
from medeyes_verl.expert.question import Question, read_questions
from medeyes_verl.expert.store import StoreWriter
from medeyes_verl.expert.trajectory import ExpertStep, Trajectory
from medeyes_verl.gaze.geometry import Box, Size

DRAWS_A_TRAJECTORY = 8
"""Draws allowed for each trajectory wanted, before the remaining duplicates are counted as a shortfall."""


@dataclass(frozen=True, slots=True)
class ScriptSettings:
    """How scripted experts look."""

    framing: Framing = GRID_FRAMING
    """The boxes: of one size, on a grid, with a jitter."""
    whole_picture_share: float = 0.1
    """Share of trajectories that begin by scanning the whole picture."""
    max_gazes: int = 4
    """Steps at most; the paper's T_max."""
    sweep_tiles: int = 3
    """The sweep looks closer at one of so many tiles a side."""


def scripted_trajectory(question: Question, settings: ScriptSettings, rng: random.Random) -> Trajectory:
    """One draw: over the marked candidates where one of them is the target, else a sweep."""
    if any(region.target for region in question.regions):
        return _over_candidates(question, settings, rng)
    return _sweep(question, settings, rng)


def scripted_trajectories(question: Question, n: int, settings: ScriptSettings, seed: int) -> list[Trajectory]:
    """Up to `n` different trajectories; fewer where the question has no more variety (see DRAWS_A_TRAJECTORY)."""
    rng = random.Random(f"{seed}/{question.expert_id}")
    different: dict[Trajectory, None] = {}
    for _ in range(n * DRAWS_A_TRAJECTORY):
        if len(different) == n:
            break
        different[scripted_trajectory(question, settings, rng)] = None
    return list(different)


@dataclass(slots=True)
class ScriptCounts:
    """What `write_scripted_experts` did."""

    questions: int = 0
    trajectories: int = 0
    known: int = 0
    """Questions that the store had before: resumed, or another build's."""
    shortfall: int = 0
    """Trajectories asked for and not made, because the question gives no more different ones."""


def write_scripted_experts(
    parquet: Path,
    store_dir: Path,
    n: int = 6,
    seed: int = 0,
    settings: ScriptSettings | None = None,
    progress: Callable[[], None] = lambda: None,
) -> ScriptCounts:
    """Write `n` scripted experts for every training question of `parquet` that `store_dir` does not have yet.

    `progress` is called once a question. May be killed and called again at any time.
    """
    settings = settings or ScriptSettings()
    counts = ScriptCounts()
    with StoreWriter(store_dir) as writer:
        for question in read_questions(parquet):
            if question.expert_id in writer:
                counts.known += 1
            else:
                made = scripted_trajectories(question, n, settings, seed)
                record = {"maker": made[0].source, "seed": seed, "wanted": n, "shortfall": n - len(made)}
                writer.add(question.expert_id, made, record)
                counts.questions += 1
                counts.trajectories += len(made)
                counts.shortfall += n - len(made)
            progress()
    return counts


def _over_candidates(question: Question, settings: ScriptSettings, rng: random.Random) -> Trajectory:
    size = question.image_sizes[0]
    targets = [region for region in question.regions if region.target]
    decoys = [region for region in question.regions if not region.target]
    whole = rng.random() < settings.whole_picture_share
    room = settings.max_gazes - whole - 1
    # In a random order of all candidates, the number of decoys before the target is uniform.
    missed = rng.sample(decoys, rng.randint(0, min(room, len(decoys))))
    visited = [*missed, rng.choice(targets)]
    steps = [ExpertStep("scan", _whole(size))] if whole else []
    for place, region in enumerate(visited):
        steps.append(ExpertStep("empty" if place else "scan", settings.framing.gaze(region.box, size, 0, rng)))
    conclusion = f"{visited[-1].label} seen"
    return Trajectory(question.expert_id, tuple(steps), conclusion, question.ground_truth, True, "scripted")


def _sweep(question: Question, settings: ScriptSettings, rng: random.Random) -> Trajectory:
    image = rng.randrange(len(question.image_sizes))
    size = question.image_sizes[image]
    tiles = settings.sweep_tiles
    column, row = rng.randrange(tiles), rng.randrange(tiles)
    tile = Box(
        round(size.width * column / tiles),
        round(size.height * row / tiles),
        round(size.width * (column + 1) / tiles),
        round(size.height * (row + 1) / tiles),
    )
    steps = (ExpertStep("scan", _whole(size), image + 1), ExpertStep("look closer", tile, image + 1))
    return Trajectory(question.expert_id, steps, "done", question.ground_truth, True, "sweep")


def _whole(size: Size) -> Box:
    return Box(0, 0, size.width, size.height)
