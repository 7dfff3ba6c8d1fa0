"""Scripted experts: trajectories from what the benchmark itself marks, without an oracle.

*Candidates* (rows that mark a target, such as phantom's): the expert visits the candidates in random order, passes the
others, stops at the target and names it. *Sweep* (all other rows): the whole image, closer looks at parts of it, and
the known answer; its words claim no finding, since nobody made one.

A sweep has at least as many gazes as r_div rewards, so all sweeps of a question score alike: nothing ranks one above
another, and nothing is made to look as if it did. They teach under a rule that compares them with the policy's own
rollouts (recipe `recommended`), and not under one that compares them with each other (docs/method.md).

Everything is drawn from (seed, question id) alone: the same call gives the same trajectories in whatever
order, and however often it was interrupted.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from medeyes_verl.expert.framing import GRID_FRAMING, Framing, PresetName
from medeyes_verl.expert.question import Question, read_questions
from medeyes_verl.expert.script_words import ScriptStyle, Sentences, Terse, Words, readable
from medeyes_verl.expert.store import StoreWriter, TrajectoryStore
from medeyes_verl.expert.trajectory import ExpertStep, Trajectory
from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.gaze.tiny_episode import tiny_episode
from medeyes_verl.prompts.templates import digest

DRAWS_A_TRAJECTORY = 8
"""Draws allowed for each trajectory wanted, before the remaining duplicates are counted as a shortfall."""
SWEEP_GAZES = 3
"""Gazes of a sweep at least, where T_max allows: from three regions on, r_div is the same for all."""
SMALLEST_TILE = 28
"""Pixels of the original that a tile of a sweep has a side at least; a smaller image has fewer tiles."""
LONGEST_TILE = 4.0
"""Longest over shortest side of a tile; a longer image has more of them."""


@dataclass(frozen=True, slots=True)
class ScriptSettings:
    """How scripted experts look and speak."""

    style: ScriptStyle = "sentences"
    """`sentences` for a real model; `terse`: the vocabulary of the tiny policy, with sweeps of two gazes."""
    framing: Framing = field(default_factory=Framing)
    """The boxes over marked candidates."""
    whole_picture_share: float = 0.1
    """Share of trajectories over candidates that begin by scanning the whole image."""
    max_gazes: int = 4
    """Steps at most; the paper's T_max."""
    sweep_tiles: int = 3
    """A sweep looks closer at some of so many tiles a side."""
    prompts: str | None = None
    """Folder with prompt templates of the user's; None: the package's words."""

    def __post_init__(self) -> None:
        if self.max_gazes < 1:
            raise ValueError(f"max_gazes must be at least 1, not {self.max_gazes}")


@cache
def script_preset(name: PresetName) -> ScriptSettings:
    """Settings by name. `paper`: for a real model; `tiny`: what a policy of a few million parameters can learn."""
    if name == "paper":
        return ScriptSettings()
    return ScriptSettings(style="terse", framing=GRID_FRAMING, max_gazes=tiny_episode().max_gazes)


def scripted_trajectory(question: Question, settings: ScriptSettings, rng: random.Random) -> Trajectory:
    """One draw: over the marked candidates where one of them is the target, else a sweep."""
    if any(region.target for region in question.regions):
        return _over_candidates(question, settings, rng)
    return _sweep(question, settings, rng)


def scripted_trajectories(question: Question, n: int, settings: ScriptSettings, seed: int) -> list[Trajectory]:
    """Up to `n` trajectories with different gazes; fewer where the question has no more (see DRAWS_A_TRAJECTORY)."""
    rng = random.Random(f"{seed}/{question.expert_id}")
    different: dict[tuple[tuple[int, Box], ...], Trajectory] = {}
    for _ in range(n * DRAWS_A_TRAJECTORY):
        if len(different) == n:
            break
        made = scripted_trajectory(question, settings, rng)
        different.setdefault(tuple((step.image, step.box) for step in made.steps), made)
    return list(different.values())


@dataclass(slots=True)
class ScriptCounts:
    """What `write_scripted_experts` did."""

    questions: int = 0
    trajectories: int = 0
    known: int = 0
    """Questions that the store had before: resumed, or another build's."""
    different: int = 0
    """Those of them that were made with other settings, or not by this module."""
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
    how: dict[str, Any] = {"seed": seed, "wanted": n, "style": settings.style, "max_gazes": settings.max_gazes}
    if settings.prompts is not None:
        how["prompts"] = digest(settings.prompts)
    with StoreWriter(store_dir) as writer:
        before = TrajectoryStore(store_dir)
        for question in read_questions(parquet):
            if question.expert_id in writer:
                counts.known += 1
                entry = before.entry(question.expert_id)
                counts.different += entry is not None and not how.items() <= entry.record.items()
            else:
                made = scripted_trajectories(question, n, settings, seed)
                writer.add(question.expert_id, made, {"maker": made[0].source, **how, "shortfall": n - len(made)})
                counts.questions += 1
                counts.trajectories += len(made)
                counts.shortfall += n - len(made)
            progress()
    return counts


def _over_candidates(question: Question, settings: ScriptSettings, rng: random.Random) -> Trajectory:
    size = question.image_sizes[0]
    targets = [region for region in question.regions if region.target]
    others = [region for region in question.regions if not region.target]
    whole = settings.max_gazes > 1 and rng.random() < settings.whole_picture_share and _fits_a_gaze(size)
    room = settings.max_gazes - whole - 1
    # In a random order of all candidates, the number of others before the target is uniform.
    missed = rng.sample(others, rng.randint(0, min(room, len(others))))
    visited = [*missed, rng.choice(targets)]
    words: Words = Terse("scan") if settings.style == "terse" else Sentences(question, rng, settings.prompts)
    steps = [ExpertStep(words.whole(1), _whole(size))] if whole else []
    for place, region in enumerate(visited):
        box = settings.framing.gaze(region.box, size, 0, rng)
        steps.append(ExpertStep(words.look(box, 1, missed=place > 0), box))
    return _answered(question, steps, words.conclude(visited[-1].label), "scripted")


def _sweep(question: Question, settings: ScriptSettings, rng: random.Random) -> Trajectory:
    terse = settings.style == "terse"
    gazes = 2 if terse else rng.randint(min(SWEEP_GAZES, settings.max_gazes), settings.max_gazes)
    image = rng.randrange(len(question.image_sizes))
    size = question.image_sizes[image]
    tiles = _tiles(size, settings.sweep_tiles)
    words: Words = Terse("look closer") if terse else Sentences(question, rng, settings.prompts)
    whole = len(tiles) == 1 or (min(gazes, settings.max_gazes) > 1 and _fits_a_gaze(size))
    steps = [ExpertStep(words.whole(image + 1), _whole(size), image + 1)] if whole else []
    room = min(gazes, settings.max_gazes) - len(steps)
    for tile in rng.sample(tiles, min(room, len(tiles))) if len(tiles) > 1 else ():
        steps.append(ExpertStep(words.look(tile, image + 1, missed=False), tile, image + 1))
    return _answered(question, steps, words.conclude(None), "sweep")


def _answered(question: Question, steps: list[ExpertStep], conclusion: str, source: str) -> Trajectory:
    answer = readable(question.ground_truth, len(question.ground_truth))
    return Trajectory(question.expert_id, tuple(steps), conclusion, answer, True, source)


def _tiles(size: Size, most: int) -> list[Box]:
    """The image cut into `most` × `most` parts; fewer where too small, more where they would be slivers."""
    columns, rows = (min(most, max(1, side // SMALLEST_TILE)) for side in size)
    columns = max(columns, math.ceil(size.width * rows / (LONGEST_TILE * size.height)))
    rows = max(rows, math.ceil(size.height * columns / (LONGEST_TILE * size.width)))
    across = [round(size.width * column / columns) for column in range(columns + 1)]
    down = [round(size.height * row / rows) for row in range(rows + 1)]
    return [Box(x1, y1, x2, y2) for y1, y2 in pairwise(down) for x1, x2 in pairwise(across)]


def _fits_a_gaze(size: Size) -> bool:
    """Whether the whole image may be gazed at, or is a sliver that an episode refuses."""
    return max(size) <= EpisodeSettings().max_aspect_ratio * min(size)


def _whole(size: Size) -> Box:
    return Box(0, 0, size.width, size.height)
