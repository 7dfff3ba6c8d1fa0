"""What the navigator asks of an expert, and what it gets.

Three questions: where are the abnormal regions, what is in this one, what is the answer. An oracle is
asynchronous, because a real one is remote; the same questions get the same answers, because trajectories
have to be reproducible. All boxes are in pixels of the original picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from medeyes_verl.expert.question import Question
from medeyes_verl.gaze.geometry import Box

MAX_CANDIDATES = 5
"""Regions taken from one scan (paper: up to five)."""


class OracleError(Exception):
    """The oracle could not answer one question; the question is counted, named, and asked again by the next build."""


class OracleDownError(Exception):
    """No further question makes sense: the oracle is gone, misconfigured, or its budget is spent."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A region that may matter, c_t(r) of the navigator's state."""

    box: Box
    confidence: float
    """0..1."""
    image: int = 1
    label: str | None = None
    """What the oracle calls it; None where it does not say before a closer look."""


@dataclass(frozen=True, slots=True)
class Located:
    """Answer to a scan."""

    candidates: tuple[Candidate, ...]
    words: str | None = None
    """The oracle's own reasoning, where it gives one."""
    rejected: tuple[str, ...] = ()
    """Why something it said was not taken, one reason each ("inverted box", "confidence missing", …)."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """Answer to a drill, c_{t+1}(r)."""

    confidence: float
    """That the region matters, 0..1, after the closer look."""
    label: str | None = None
    """What is there; None: nothing, or nothing that can be named."""
    box: Box | None = None
    """A tighter region inside the one asked about, where the oracle gives one."""
    words: str | None = None
    rejected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """A region that was gazed at."""

    candidate: Candidate
    gaze: Box
    """The box that was looked at, the candidate in its context."""
    assessment: Assessment | None
    """None where the navigator did not ask (scan-only ablation, whole picture)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The oracle's answer to the question after what was gazed at."""

    text: str
    words: str | None = None


class Oracle(Protocol):
    """Raises OracleError where it cannot answer for this question, OracleDownError where it cannot answer any more."""

    name: str

    async def locate(self, question: Question, findings: Sequence[Finding]) -> Located:
        """All abnormal regions of the question's pictures; `findings` is what was looked at before."""
        ...

    async def assess(self, question: Question, candidate: Candidate, gaze: Box) -> Assessment:
        """What a crop at `gaze` says about `candidate`."""
        ...

    async def answer(self, question: Question, findings: Sequence[Finding]) -> Answer:
        """The answer, given what was looked at."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...
