"""The episode, a state machine: the model's text in, an observation out, until an answer or a limit.

MedEyes (arXiv 2511.22018): a trajectory is steps of a thought and a visual anchor, then an answer. Decided
here: a faulty turn never raises and never ends the episode by itself. It is answered with words that say what
was wrong, and it uses up one of the gazes, so that no fault is cheaper than a gaze.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from medeyes_verl.gaze.crop import crop_of, view_of
from medeyes_verl.gaze.geometry import Box, Size, to_original
from medeyes_verl.gaze.grammar import Fault, Turn, parse_turn
from medeyes_verl.gaze.limits import GazeLimits, fault_message
from medeyes_verl.gaze.record import EpisodeRecord, Finish, Mode
from medeyes_verl.gaze.settings import EpisodeSettings

__all__ = ["Episode", "EpisodeRecord", "EpisodeSettings", "Observation"]


@dataclass(frozen=True)
class Observation:
    """What the environment answers to a turn: words or a picture."""

    text: str
    """Without the <feedback> tags; "" where the crop says it all."""
    picture: Image.Image | None
    """The crop, ready for the model; None after a fault."""


class Episode:
    """One question's pictures, looked at by one policy.

    `originals` are RGB pictures at full resolution, at least one. Raises ValueError for none, or for one
    whose aspect ratio no model can see.
    """

    def __init__(self, originals: Sequence[Image.Image], settings: EpisodeSettings) -> None:
        if not originals:
            raise ValueError("an episode needs at least one picture")
        self._originals = tuple(originals)
        self._settings = settings
        self.views: tuple[Image.Image, ...] = tuple(view_of(picture, settings.view) for picture in originals)
        """The pictures as the model first sees them."""
        self._boxes: list[Box] = []
        self._images: list[int] = []
        self._modes: list[Mode] = []
        self._faults: list[Fault] = []
        self._answer: str | None = None
        self._turns = 0
        self._last_coverage = 0.0
        self._finish: Finish | None = None

    @property
    def over(self) -> bool:
        """Whether the episode has ended."""
        return self._finish is not None

    @property
    def record(self) -> EpisodeRecord:
        """The facts, once the episode is over. Raises RuntimeError before."""
        if self._finish is None:
            raise RuntimeError("the episode is not over: reply to it or truncate it first")
        return EpisodeRecord(
            boxes=tuple(self._boxes),
            images=tuple(self._images),
            modes=tuple(self._modes),
            answer=self._answer,
            faults=tuple(self._faults),
            turns=self._turns,
            finish=self._finish,
        )

    def reply(self, text: str) -> Observation | None:
        """Take one whole turn of the model; the observation it gets, or None when the episode is over.

        After `max_gazes` observations one last turn is left: it answers, or the episode ends without an
        answer. Never raises on the text; raises RuntimeError when the episode is already over.
        """
        self._check_running()
        self._turns += 1
        turn = parse_turn(text)
        self._faults.extend(turn.faults)
        if turn.answer is not None:
            self._answer = turn.answer
            self._finish = "answered"
            return None
        if self._turns > self._settings.max_gazes:
            if turn.box is not None:
                self._faults.append(Fault.gaze_limit)
            self._finish = "gaze_limit"
            return None
        return self._observe(turn)

    def truncate(self) -> None:
        """End the episode because the tokens ran out. Raises RuntimeError when it is already over."""
        self._check_running()
        self._finish = "truncated"

    def limits(self, image: int = 1) -> GazeLimits:
        """The limits of gazes on a picture, counted from 1."""
        return GazeLimits(
            frame=self._settings.frame,
            view=Size(*self.views[image - 1].size),
            original=Size(*self._originals[image - 1].size),
            images=len(self._originals),
            min_box_side=self._settings.min_box_side,
            max_aspect_ratio=self._settings.max_aspect_ratio,
        )

    def _check_running(self) -> None:
        if self.over:
            raise RuntimeError(f"the episode is already over ({self._finish})")

    def _observe(self, turn: Turn) -> Observation:
        if turn.box is None:
            return Observation(fault_message(turn.faults[-1], self.limits()), None)
        if not 1 <= turn.image <= len(self._originals):
            return self._refuse(Fault.unknown_image, self.limits())
        limits = self.limits(turn.image)
        fault = limits.fault_of(turn.box)
        return self._gaze(turn.box, turn.image, limits) if fault is None else self._refuse(fault, limits)

    def _refuse(self, fault: Fault, limits: GazeLimits) -> Observation:
        self._faults.append(fault)
        return Observation(fault_message(fault, limits), None)

    def _gaze(self, written: Box, image: int, limits: GazeLimits) -> Observation:
        box = to_original(written, limits.frame, limits.view, limits.original).clipped(limits.original)
        coverage = box.area / (limits.original.width * limits.original.height)
        wider = bool(self._boxes) and coverage > self._last_coverage
        self._boxes.append(box)
        self._images.append(image)
        self._modes.append("scan" if wider or coverage >= self._settings.scan_coverage else "drill")
        self._last_coverage = coverage
        return Observation("", crop_of(self._originals[image - 1], box, self._settings.crop))
