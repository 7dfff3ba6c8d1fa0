"""The Gaze-guided Reasoning Navigator, GRN: how an expert's eyes go over a picture (paper section 3.2).

State ψ_t = (R_t, C_t, F_t): candidate regions, their confidences, and the mode F ∈ {global, local}.

    scan   F = global: the oracle is asked for all abnormal regions, up to five with confidences
    drill  F = local:  the oracle is asked about one region, whose confidence is refined
    Δc = (c_{t+1}(r) − c_t(r)) / (c_t(r) + ε);  Δc ≥ δ: keep drilling, else scan again

The walk stops when the local confidence reaches ξ, after T_max gazes, or when nothing new is left to look
at. Which region comes next is the sampler's choice (sampler.py). Decided here, where the paper is silent:
a region that was looked at is not proposed again; a drill goes deeper only if its gaze is a new one; a scan
is written as a gaze at the whole picture while at least one more gaze fits after it.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from medeyes_verl.expert.framing import Framing
from medeyes_verl.expert.oracles.protocol import MAX_CANDIDATES, Answer, Candidate, Finding, Oracle
from medeyes_verl.expert.question import Question
from medeyes_verl.expert.trajectory import ExpertStep
from medeyes_verl.expert.wording import Style, drill_words, look_words, place_of, scan_words
from medeyes_verl.gaze.geometry import Box
from medeyes_verl.settings.reader import Between, check

Modes = Literal["grn", "scan_only", "drill_only", "random"]
Stop = Literal["confident", "t_max", "nothing_left", "nothing_finer", "drawn"]
Next = Literal["scan", "drill", "stop"]
Choose = Callable[[Sequence[float], random.Random], int]
"""Confidences of the open candidates → the index of the next one."""

EPSILON = 1e-6
SAME_REGION_IOU = 0.5
"""Two candidates that overlap more are one region."""
RANDOM_SHARE = (0.15, 0.5)
"""Sides of random boxes (ablation), as shares of the picture's."""


@dataclass(frozen=True, slots=True)
class NavigatorSettings:
    """The walk. Defaults are the paper's where it has one."""

    modes: Modes = "grn"
    """`grn`: both modes and Δc. Ablations: `scan_only` gazes at what scans propose and never refines a confidence;
    `drill_only` takes one region from one scan and only goes deeper; `random` gazes at uniform random boxes, asks
    nothing on the way and answers with the ground truth."""
    delta: float = 0.15
    """δ: the least relative gain in confidence for which drilling goes on."""
    stop_confidence: Annotated[float, Between(0)] = 0.85
    """ξ: the local confidence at which the walk stops."""
    max_gazes: Annotated[int, Between(1)] = 4
    """T_max of the expert; at most the policy's, `episode.max_gazes`."""
    max_candidates: Annotated[int, Between(1)] = MAX_CANDIDATES
    """Regions taken from one scan, the most confident first."""
    scan_gazes: bool = True
    """Whether a scan is written as a gaze at the whole image. The policy sees the whole image before its first turn,
    so without them trajectories are shorter."""
    style: Style = "sentences"
    """Reasoning text. `sentences`: templates in several wordings; `terse`: the tiny policy's vocabulary; `oracle`: the
    oracle's own sentences where it gave some."""
    framing: Framing = field(default_factory=Framing)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision, as it is stored with the trajectory."""

    mode: Literal["scan", "drill"]
    image: int
    region: Box | None
    """The region asked about; None for a scan."""
    gaze: int | None
    """Which gaze of the trajectory (from 0) came of it; None where none was written."""
    candidates: tuple[float, ...] = ()
    """Of a scan: the confidences C_t of the regions open to choice."""
    before: float | None = None
    """c_t(r)."""
    after: float | None = None
    """c_{t+1}(r)."""
    gain: float | None = None
    """Δc."""
    next: Next = "drill"

    def as_dict(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"mode": self.mode, "image": self.image, "next": self.next}
        if self.region is not None:
            fields["region"] = [round(side, 1) for side in self.region.as_list()]
        if self.mode == "scan":
            fields["candidates"] = [round(each, 4) for each in self.candidates]
        if self.gaze is not None:
            fields["gaze"] = self.gaze
        for name, value in (("before", self.before), ("after", self.after), ("gain", self.gain)):
            if value is not None:
                fields[name] = round(value, 4)
        return fields


@dataclass(slots=True)
class Walk:
    """One walk over a question: what becomes a trajectory, and every decision on the way."""

    steps: list[ExpertStep] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    """What the oracle said and was not taken."""
    stop: Stop = "t_max"


async def walk(
    question: Question,
    oracle: Oracle,
    settings: NavigatorSettings,
    choose: Choose,
    rng: random.Random,
    prompts: str | None = None,
) -> Walk:
    """Walk once, up to the answer (see `answered`). Raises OracleError or OracleDownError as the oracle does."""
    path = _Path(question, oracle, settings, choose, rng, prompts)
    if settings.modes == "random":
        path.gaze_at_random()
    else:
        await path.go()
    return path.walk


async def answered(question: Question, oracle: Oracle, path: Walk) -> Answer:
    """The answer at the end of a walk; a random one is told it."""
    if path.stop == "drawn":
        return Answer(question.ground_truth)
    return await oracle.answer(question, path.findings)


class _Path:
    """The state of one walk."""

    def __init__(
        self,
        question: Question,
        oracle: Oracle,
        settings: NavigatorSettings,
        choose: Choose,
        rng: random.Random,
        prompts: str | None,
    ) -> None:
        self.prompts = prompts
        """Folder with prompt templates of the user's; None: the package's words."""
        self.question, self.oracle, self.settings, self.choose, self.rng = question, oracle, settings, choose, rng
        self.walk = Walk()
        self.thought: str | None = None
        """The oracle's own words that no turn has used yet."""
        self.spoken = False
        """Whether a turn has been written since the last closer look."""

    async def go(self) -> None:
        settings, walk = self.settings, self.walk
        while True:
            region = await self._scan()
            if region is None:
                walk.stop = "nothing_left"
                return
            drills = await self._drill(region)
            if drills is not None:
                walk.stop = drills
                return
            if settings.modes == "drill_only":
                walk.stop = "nothing_finer"
                return

    async def _scan(self) -> Candidate | None:
        """F = global: ask for all regions and choose one; None when no new one is left."""
        settings, walk = self.settings, self.walk
        located = await self.oracle.locate(self.question, walk.findings)
        walk.rejected += located.rejected
        seen = [finding.candidate for finding in walk.findings]
        fresh = [each for each in located.candidates if not any(_same(each, other) for other in seen)]
        fresh = sorted(fresh, key=lambda each: -each.confidence)[: settings.max_candidates]
        choice = fresh[self.choose([each.confidence for each in fresh], self.rng)] if fresh else None
        image = choice.image if choice else 1
        gaze = None
        fits = settings.scan_gazes and settings.max_gazes - len(walk.steps) >= 2
        # Nothing new to look at: no gaze either, unless nothing was looked at yet.
        if (fits and fresh) or not (walk.steps or fresh):
            words = scan_words(settings.style, walk.findings, self.thought, self.rng, self.prompts)
            width, height = self.question.image_sizes[image - 1]
            gaze = self._look(words, Box(0, 0, width, height), image, None)
        self.spoken = gaze is not None
        self.thought = located.words or (None if self.spoken else self.thought)
        confidences = tuple(each.confidence for each in fresh)
        then: Next = "drill" if choice else "stop"
        walk.decisions.append(Decision("scan", image, None, gaze, candidates=confidences, next=then))
        return choice

    async def _drill(self, region: Candidate) -> Stop | None:
        """F = local: refine one region while Δc ≥ δ. A reason to stop the walk, or None: scan again."""
        settings, walk = self.settings, self.walk
        size = self.question.image_sizes[region.image - 1]
        recent = () if self.spoken else walk.findings
        where = place_of(region.box, size, self.prompts)
        words = look_words(settings.style, recent, region.label, where, self.thought, self.rng, self.prompts)
        box = settings.framing.gaze(region.box, size, 0, self.rng)
        for depth in itertools.count(1):
            gaze = self._look(words, box, region.image, region.confidence)
            full = len(walk.steps) >= settings.max_gazes
            if settings.modes == "scan_only":
                walk.findings.append(Finding(region, box, None))
                self._decide(region, gaze, None, None, "stop" if full else "scan")
                return "t_max" if full else None
            assessment = await self.oracle.assess(self.question, region, box)
            self.thought = assessment.words
            walk.rejected += assessment.rejected
            walk.findings.append(Finding(region, box, assessment))
            after = assessment.confidence
            gain = (after - region.confidence) / (region.confidence + EPSILON)
            if after >= settings.stop_confidence or full:
                self._decide(region, gaze, after, gain, "stop")
                return "confident" if after >= settings.stop_confidence else "t_max"
            finer = Candidate(assessment.box or region.box, after, region.image, region.label)
            box = settings.framing.gaze(finer.box, size, depth, self.rng)
            deeper = gain >= settings.delta or settings.modes == "drill_only"
            # A gaze that was made already would show nothing new.
            deeper = deeper and all(step.box != box for step in walk.steps)
            self._decide(region, gaze, after, gain, "drill" if deeper else "scan")
            if not deeper:
                return None
            region, words = finer, drill_words(settings.style, self.thought, self.rng, self.prompts)
        raise AssertionError("unreachable")

    def _look(self, words: str, box: Box, image: int, confidence: float | None) -> int:
        self.walk.steps.append(ExpertStep(words, box, image, confidence))
        return len(self.walk.steps) - 1

    def _decide(
        self,
        region: Candidate,
        gaze: int,
        after: float | None,
        gain: float | None,
        then: Next,
    ) -> None:
        self.walk.decisions.append(
            Decision("drill", region.image, region.box, gaze, (), region.confidence, after, gain, then)
        )

    def gaze_at_random(self) -> None:
        """The ablation without an expert's eyes: 1 … T_max uniform boxes and the right answer."""
        rng, walk = self.rng, self.walk
        for _ in range(rng.randint(1, self.settings.max_gazes)):
            image = rng.randrange(len(self.question.image_sizes)) + 1
            size = self.question.image_sizes[image - 1]
            width, height = (side * rng.uniform(*RANDOM_SHARE) for side in size)
            x, y = rng.uniform(0, size.width - width), rng.uniform(0, size.height - height)
            box = self.settings.framing.gaze(Box(x, y, x + width, y + height), size, 0, rng)
            prompts = self.prompts
            words = look_words(self.settings.style, (), None, place_of(box, size, prompts), None, rng, prompts)
            self._look(words, box, image, None)
        walk.stop = "drawn"


def _same(one: Candidate, other: Candidate) -> bool:
    return one.image == other.image and one.box.iou(other.box) >= SAME_REGION_IOU
