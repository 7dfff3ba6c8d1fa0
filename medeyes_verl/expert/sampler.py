"""The Confidence Value Sampler, CVS: several different walks over one question (paper section 3.3).

At each decision the next region is drawn from the nucleus of the softmax of confidences: the smallest set
of top regions whose probability reaches p₀, or, as the paper's formula reads, the largest that stays within it.
Everything is drawn from (seed, question id), so the same seed,
question and oracle answers give the same trajectories. Duplicates are drawn again; where the oracle has
nothing left to vary fewer are kept, and the shortfall is counted. Wrong answers are kept with their label.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Annotated, Any, Literal

from medeyes_verl.expert.framing import GRID_FRAMING, PresetName
from medeyes_verl.expert.navigator import NavigatorSettings, Walk, answered, walk
from medeyes_verl.expert.oracles.protocol import Answer, Oracle
from medeyes_verl.expert.question import Question
from medeyes_verl.expert.trajectory import Trajectory, turn_texts
from medeyes_verl.expert.wording import cleaned, conclusion_words
from medeyes_verl.gaze.crop import fitted_size
from medeyes_verl.gaze.geometry import Size, to_model
from medeyes_verl.gaze.limits import GazeLimits
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.gaze.tiny_episode import tiny_episode
from medeyes_verl.prompts.templates import digest
from medeyes_verl.settings.reader import Between, SettingError, check

NucleusRule = Literal["reach", "within"]
Judge = Callable[[Question, str], bool]
"""Whether an answer to a question is correct."""


@dataclass(frozen=True, slots=True)
class SamplerSettings:
    """How many walks, and how they are drawn. Defaults are the paper's."""

    n: Annotated[int, Between(1)] = 6
    """N_expert: trajectories a question."""
    nucleus: Annotated[float, Between(0, 1)] = 0.9
    """p₀: the next region is drawn from the smallest set of top regions whose probability reaches it."""
    temperature: Annotated[float, Between(0.001)] = 1.0
    """Of the softmax over confidences: small where they lie close together."""
    nucleus_rule: NucleusRule = "reach"
    """Whether the region that crosses p₀ belongs to the nucleus: `reach`, yes, the usual top-p; `within`, no, the
    paper's {a_i : Σ_{j≤i} P_j ≤ p₀}, where the first stays in any case, as in its code. `within` draws from one region
    less: with up to three near-equal regions it is almost `greedy`."""
    greedy: bool = False
    """Ablation without CVS: always the most confident region, so that one trajectory is all there is."""
    draws_a_trajectory: Annotated[int, Between(1)] = 4
    """Walks allowed for each trajectory wanted, before the rest is counted as a shortfall."""
    navigator: NavigatorSettings = field(default_factory=NavigatorSettings)
    episode: EpisodeSettings = field(default_factory=EpisodeSettings)
    """Episode settings of the policy that will replay the trajectories: what it would refuse is drawn again."""

    def __post_init__(self) -> None:
        check(self)
        walked, played = self.navigator.max_gazes, self.episode.max_gazes
        if walked > played:
            raise SettingError("navigator.max_gazes", str(walked), f"use at most episode.max_gazes={played}")


@cache
def sampler_preset(name: PresetName) -> SamplerSettings:
    """Settings by name. `paper`: the paper's; `tiny`: what a policy of a few million parameters can learn."""
    if name == "paper":
        return SamplerSettings()
    episode = tiny_episode()
    navigator = NavigatorSettings(max_gazes=episode.max_gazes, scan_gazes=False, style="terse", framing=GRID_FRAMING)
    return SamplerSettings(navigator=navigator, episode=episode)


@dataclass(frozen=True, slots=True)
class Sampled:
    """The trajectories of one question, and how they came about, as the store keeps it."""

    trajectories: tuple[Trajectory, ...]
    record: dict[str, Any]


async def sample(question: Question, oracle: Oracle, settings: SamplerSettings, seed: int, judge: Judge) -> Sampled:
    """Up to `settings.n` different trajectories. Raises OracleError or OracleDownError as the oracle does."""
    rng = random.Random(f"{seed}/{question.expert_id}")
    choose = _most_confident if settings.greedy else _from_nucleus(settings)
    wanted = 1 if settings.greedy else settings.n
    made: dict[tuple[object, ...], tuple[Trajectory, Walk]] = {}
    counts: Counter[str] = Counter()
    for _ in range(wanted * settings.draws_a_trajectory):
        if len(made) == wanted:
            break
        path = await walk(question, oracle, settings.navigator, choose, rng, settings.episode.prompts)
        counts.update(f"oracle: {reason}" for reason in path.rejected)
        key = tuple((step.image, step.box) for step in path.steps)
        if key in made:
            counts["duplicate"] += 1
            continue
        trajectory = _trajectory(question, path, await answered(question, oracle, path), settings, judge, rng)
        reason = inadmissible(trajectory, settings.episode, question.image_sizes)
        if reason:
            counts[f"inadmissible: {reason}"] += 1
        else:
            made[key] = (trajectory, path)
    record = {
        "maker": _source(settings),
        "oracle": oracle.name,
        "seed": seed,
        "wanted": settings.n,
        "shortfall": settings.n - len(made),
        "rejected": dict(counts),
        "walks": [
            {"stop": path.stop, "decisions": [decision.as_dict() for decision in path.decisions]}
            for _, path in made.values()
        ],
    }
    if settings.episode.prompts is not None:
        record["prompts"] = digest(settings.episode.prompts)
    return Sampled(tuple(trajectory for trajectory, _ in made.values()), record)


def nucleus_of(
    confidences: Sequence[float], share: float, temperature: float, rule: NucleusRule = "reach"
) -> list[tuple[int, float]]:
    """The indices a region is drawn from, most probable first: those whose softmax probability reaches `share`.

    Each with its probability in the whole softmax; equal confidences keep their order. Under `within` the one that
    crosses `share` is left out, unless it is the first.
    """
    top = max(confidences)
    weights = [math.exp((each - top) / temperature) for each in confidences]
    total = sum(weights)
    order = sorted(range(len(weights)), key=lambda index: -confidences[index])
    kept: list[tuple[int, float]] = []
    reached = 0.0
    for index in order:
        probability = weights[index] / total
        over = reached >= share - 1e-12 if rule == "reach" else reached + probability > share + 1e-12
        if kept and over:
            break
        kept.append((index, probability))
        reached += probability
    return kept


def inadmissible(trajectory: Trajectory, settings: EpisodeSettings, sizes: Sequence[Size]) -> str | None:
    """Why the policy's own episode would not accept the trajectory; None when it would."""
    if len(trajectory.steps) > settings.max_gazes:
        return "too many gazes"
    for step in trajectory.steps:
        limits = _limits(settings, sizes[step.image - 1], len(sizes))
        fault = limits.fault_of(to_model(step.box, limits.frame, limits.view, limits.original))
        if fault:
            return fault.value
    try:
        turn_texts(trajectory, settings, sizes)
    except ValueError:
        return "text"
    return None


@lru_cache(maxsize=4096)
def _limits(settings: EpisodeSettings, original: Size, images: int) -> GazeLimits:
    return GazeLimits(
        frame=settings.frame,
        view=fitted_size(original, settings.view),
        original=original,
        images=images,
        min_box_side=settings.min_box_side,
        max_aspect_ratio=settings.max_aspect_ratio,
    )


def _trajectory(
    question: Question, path: Walk, given: Answer, settings: SamplerSettings, judge: Judge, rng: random.Random
) -> Trajectory:
    style, prompts = settings.navigator.style, settings.episode.prompts
    answer = cleaned(given.text)
    return Trajectory(
        expert_id=question.expert_id,
        steps=tuple(path.steps),
        conclusion=conclusion_words(style, path.findings, question.image_sizes, given.words, rng, prompts),
        answer=answer,
        correct=judge(question, answer),
        source=_source(settings),
    )


def _source(settings: SamplerSettings) -> str:
    if settings.navigator.modes != "grn":
        return settings.navigator.modes
    return "grn_greedy" if settings.greedy else "grn_cvs"


def _most_confident(confidences: Sequence[float], rng: random.Random) -> int:
    return max(range(len(confidences)), key=confidences.__getitem__)


def _from_nucleus(settings: SamplerSettings) -> Callable[[Sequence[float], random.Random], int]:
    def choose(confidences: Sequence[float], rng: random.Random) -> int:
        kept = nucleus_of(confidences, settings.nucleus, settings.temperature, settings.nucleus_rule)
        return rng.choices([index for index, _ in kept], [probability for _, probability in kept])[0]

    return choose
