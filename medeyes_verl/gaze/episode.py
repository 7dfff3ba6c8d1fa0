"""The episode, a state machine: the model's text in, an observation out, until an answer or a limit.

MedEyes (arXiv 2511.22018): a trajectory is steps of a thought and a visual anchor, then an answer. Decided
here: a faulty turn never raises and never ends the episode by itself. It is answered with words that say what
was wrong, and it uses up one of the gazes, so that no fault is cheaper than a gaze.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from medeyes_verl.gaze.crop import crop_of, view_of
from medeyes_verl.gaze.geometry import Box, Size, to_original
from medeyes_verl.gaze.grammar import TOOL_NAME, Fault, ToolCall, Turn, parse_turn
from medeyes_verl.gaze.limits import GazeLimits, fault_message, tool_message
from medeyes_verl.gaze.observation import Observation
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.gaze.tool import ToolError, apply_tool, load_tools
from medeyes_verl.gaze.trace import EpisodeTrace, Finish, Mode, TraceTurn

__all__ = ["Episode", "EpisodeSettings", "Observation"]


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
        self._tools = load_tools(settings.tools)
        self.views: tuple[Image.Image, ...] = tuple(view_of(picture, settings.view) for picture in originals)
        """The pictures as the model first sees them."""
        self.turns: list[TraceTurn] = []
        """What has happened so far."""
        self._gazes_used = 0
        self._calls: Counter[str] = Counter()
        self._answer: str | None = None
        self._last_coverage: float | None = None
        self._finish: Finish | None = None

    @property
    def over(self) -> bool:
        """Whether the episode has ended."""
        return self._finish is not None

    @property
    def trace(self) -> EpisodeTrace:
        """The whole episode, once it is over. Raises RuntimeError before."""
        if self._finish is None:
            raise RuntimeError("the episode is not over: reply to it or truncate it first")
        return EpisodeTrace(
            turns=tuple(self.turns),
            answer=self._answer,
            finish=self._finish,
            image_sizes=tuple(Size(*original.size) for original in self._originals),
            view_sizes=tuple(Size(*view.size) for view in self.views),
        )

    def reply(self, text: str, num_tokens: int = 0) -> Observation | None:
        """Take one whole turn of the model; the observation it gets, or None when the episode is over.

        After `max_gazes` observations (free calls of tools aside) one last turn is left: it answers, or the episode
        ends without an answer. Never raises on the text; raises RuntimeError when the episode is already over.
        `num_tokens` is how many tokens the turn took, for the trace.
        """
        self._check_running()
        turn = parse_turn(text, self._tools)
        outcome = self._outcome(turn)
        observation = outcome.observation
        self._gazes_used += not outcome.free
        self.turns.append(
            TraceTurn(
                text=text,
                reasoning=turn.reasoning,
                feedback=None if observation is None else observation.text,
                box=outcome.box,
                image=1 if outcome.box is None and outcome.call is None else turn.image,
                mode=outcome.mode,
                faults=turn.faults if outcome.fault is None else (*turn.faults, outcome.fault),
                num_tokens=num_tokens,
                call=outcome.call,
            )
        )
        return observation

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

    def _outcome(self, turn: Turn) -> _Outcome:
        """What follows from a turn; ends the episode where it answers or is the last."""
        if turn.answer is not None:
            self._answer = turn.answer
            self._finish = "answered"
            return _Outcome(None)
        if self._gazes_used >= self._settings.max_gazes and not self._is_free(turn):
            self._finish = "gaze_limit"
            acted = turn.box is not None or turn.call is not None
            return _Outcome(None, fault=Fault.gaze_limit if acted else None)
        if turn.call is not None:
            return self._call(turn.call, turn.image)
        if turn.box is None:
            return _Outcome(Observation(self._told(turn.faults[-1], self.limits()), None))
        if not 1 <= turn.image <= len(self._originals):
            return self._refused(Fault.unknown_image, self.limits())
        limits = self.limits(turn.image)
        fault = limits.fault_of(turn.box)
        return self._gaze(turn.box, turn.image, limits) if fault is None else self._refused(fault, limits)

    def _refused(self, fault: Fault, limits: GazeLimits) -> _Outcome:
        return _Outcome(Observation(self._told(fault, limits), None), fault=fault)

    def _told(self, fault: Fault, limits: GazeLimits) -> str:
        if fault == Fault.unknown_tool and self._tools:
            names = ", ".join(f'"{name}"' for name in (TOOL_NAME, *self._tools))
            return tool_message("unknown_tool_of_several", self._settings.prompts, tools=names)
        return fault_message(fault, limits, self._settings.prompts)

    def _is_free(self, turn: Turn) -> bool:
        """Whether a turn is a call that uses up no gaze."""
        free = None if turn.call is None else self._tools[turn.call.name].max_calls
        return free is not None and turn.call is not None and self._calls[turn.call.name] < free

    def _call(self, call: ToolCall, image: int) -> _Outcome:
        tool = self._tools[call.name]
        if tool.max_calls is not None and self._calls[call.name] >= tool.max_calls:
            told = tool_message("tool_limit", self._settings.prompts, tool=call.name, calls=tool.max_calls)
            return _Outcome(Observation(told, None), fault=Fault.tool_limit)
        if not 1 <= image <= len(self._originals):
            return self._refused(Fault.unknown_image, self.limits())
        try:
            observation = apply_tool(tool, self._originals[image - 1], call, self._settings.crop)
        except ToolError as error:
            return _Outcome(Observation(str(error), None), fault=Fault.bad_arguments)
        self._calls[call.name] += 1
        return _Outcome(observation, call=call, free=tool.max_calls is not None)

    def _gaze(self, written: Box, image: int, limits: GazeLimits) -> _Outcome:
        box = to_original(written, limits.frame, limits.view, limits.original).clipped(limits.original)
        coverage = box.area / (limits.original.width * limits.original.height)
        wider = self._last_coverage is not None and coverage > self._last_coverage
        mode: Mode = "scan" if wider or coverage >= self._settings.scan_coverage else "drill"
        self._last_coverage = coverage
        crop = crop_of(self._originals[image - 1], box, self._settings.crop)
        return _Outcome(Observation("", crop), box, mode)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a turn led to."""

    observation: Observation | None
    box: Box | None = None
    mode: Mode | None = None
    fault: Fault | None = None
    """A fault of the gaze itself, beside those of the form."""
    call: ToolCall | None = None
    """The call of a tool that was carried out."""
    free: bool = False
    """Whether it used up no gaze."""
