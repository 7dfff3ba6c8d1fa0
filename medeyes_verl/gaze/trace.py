"""The trace: the one record of an episode, from its first turn to its end.

The episode fills it as it goes. Everything that learns what happened reads it (reward, metrics, logs, report, replay),
so that no text is parsed twice and no episode is run again to find out what it was. As JSON it carries a version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.gaze.grammar import Fault, ToolCall

Mode = Literal["scan", "drill"]
"""`scan`: the gaze covers most of its image or widens the one before. `drill`: it zooms in."""
Finish = Literal["answered", "gaze_limit", "truncated"]
"""How an episode ended: by an answer, by a last turn without one, or because the token budget was used up."""

VERSION = 1
"""Of the JSON form."""
VERSION_WITH_CALLS = 2
"""Of a trace with a call of a tool of the user's: a reader of version 1 would take it for a turn without an action."""


@dataclass(frozen=True, slots=True)
class TraceTurn:
    """One message of the model and the observation it got."""

    text: str
    """The model's message without the special tokens at its end."""
    reasoning: str
    """Its thought; "" when missing."""
    feedback: str | None
    """The words of the observation; "" when it was a crop alone, None when the episode ended with this turn."""
    box: Box | None = None
    """What was cropped, in pixels of the ORIGINAL image; None when nothing was."""
    image: int = 1
    """The image of the box or of the call, from 1."""
    mode: Mode | None = None
    """The mode of the gaze; None without a box."""
    faults: tuple[Fault, ...] = ()
    """What was wrong with this turn."""
    num_tokens: int = 0
    """Tokens the policy wrote; 0 where nobody counted them."""
    call: ToolCall | None = None
    """The call of a tool of the user's that was carried out; None for any other turn."""

    def as_dict(self) -> dict[str, Any]:
        """Return the turn as plain JSON types; a box is [x1, y1, x2, y2]."""
        plain: dict[str, Any] = {
            "text": self.text,
            "reasoning": self.reasoning,
            "feedback": self.feedback,
            "box": None if self.box is None else self.box.as_list(),
            "image": self.image,
            "mode": self.mode,
            "faults": [fault.value for fault in self.faults],
            "num_tokens": self.num_tokens,
        }
        if self.call is not None:
            plain["call"] = {"name": self.call.name, "arguments": dict(self.call.arguments)}
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> TraceTurn:
        """Return the turn that `as_dict` gave. Raises KeyError, TypeError or ValueError for anything else."""
        box = None if plain["box"] is None else Box(*(float(side) for side in plain["box"]))
        mode = plain["mode"]
        if (mode is None) != (box is None) or (mode is not None and mode not in get_args(Mode)):
            raise ValueError(f"mode {mode!r} with box {plain['box']!r}")
        call = plain.get("call")
        if call is not None and (box is not None or not isinstance(call["arguments"], Mapping)):
            raise ValueError(f"call {call!r:.100} with box {plain['box']!r}")
        return cls(
            text=_string(plain["text"]),
            reasoning=_string(plain["reasoning"]),
            feedback=None if plain["feedback"] is None else _string(plain["feedback"]),
            box=box,
            image=int(plain["image"]),
            mode=mode,
            faults=tuple(Fault(fault) for fault in plain["faults"]),
            num_tokens=int(plain["num_tokens"]),
            call=None if call is None else ToolCall(_string(call["name"]), dict(call["arguments"])),
        )


@dataclass(frozen=True, slots=True)
class EpisodeTrace:
    """A finished episode.

    `boxes`, `images` and `modes` are those of the valid gazes, in order; `faults` those of all turns.

    >>> turn = TraceTurn("<answer>yes</answer>", "", None, faults=(Fault.missing_reasoning,))
    >>> trace = EpisodeTrace((turn,), answer="yes", finish="answered")
    >>> trace.num_gazes, trace.well_formed
    (0, False)
    """

    turns: tuple[TraceTurn, ...]
    answer: str | None
    """The accepted answer, stripped; None unless the finish is `answered`."""
    finish: Finish
    """How the episode ended."""
    image_sizes: tuple[Size, ...] = ()
    """Sizes of the original images."""
    view_sizes: tuple[Size, ...] = ()
    """Sizes in which the model first saw them."""

    @property
    def gazes(self) -> tuple[TraceTurn, ...]:
        """The turns with a valid gaze."""
        return tuple(turn for turn in self.turns if turn.box is not None)

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Valid gazes, in pixels of the ORIGINAL image."""
        return tuple(turn.box for turn in self.turns if turn.box is not None)

    @property
    def images(self) -> tuple[int, ...]:
        """The image of each box, from 1."""
        return tuple(turn.image for turn in self.gazes)

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The mode of each box."""
        return tuple(turn.mode for turn in self.gazes if turn.mode is not None)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Everything that was wrong, in order."""
        return tuple(fault for turn in self.turns for fault in turn.faults)

    @property
    def num_turns(self) -> int:
        """Turns the model wrote."""
        return len(self.turns)

    @property
    def num_gazes(self) -> int:
        """Valid gazes."""
        return len(self.gazes)

    @property
    def num_calls(self) -> int:
        """Calls of tools of the user's that were carried out."""
        return sum(turn.call is not None for turn in self.turns)

    @property
    def num_tokens(self) -> int:
        """Tokens the policy wrote over all turns."""
        return sum(turn.num_tokens for turn in self.turns)

    @property
    def well_formed(self) -> bool:
        """Whether the grammar held strictly from the first turn to an answer."""
        return self.finish == "answered" and not self.faults

    def as_dict(self) -> dict[str, Any]:
        """Return the trace as plain JSON types with its version; sizes are [width, height]."""
        return {
            "version": VERSION_WITH_CALLS if self.num_calls else VERSION,
            "turns": [turn.as_dict() for turn in self.turns],
            "answer": self.answer,
            "finish": self.finish,
            "image_sizes": [list(size) for size in self.image_sizes],
            "view_sizes": [list(size) for size in self.view_sizes],
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> EpisodeTrace:
        """Return the trace that `as_dict` gave.

        Raises:
            ValueError: another version, or no trace.
        """
        try:
            if plain["version"] not in (VERSION, VERSION_WITH_CALLS):
                raise ValueError(
                    f"trace version {plain['version']!r} is unknown: this medeyes_verl reads version {VERSION} and "
                    f"{VERSION_WITH_CALLS} (with calls of tools); read it with the release that wrote it"
                )
            if plain["finish"] not in get_args(Finish):
                raise ValueError(f"finish {plain['finish']!r} is unknown: known are {', '.join(get_args(Finish))}")
            return cls(
                turns=tuple(TraceTurn.from_dict(turn) for turn in plain["turns"]),
                answer=None if plain["answer"] is None else _string(plain["answer"]),
                finish=plain["finish"],
                image_sizes=_sizes(plain["image_sizes"]),
                view_sizes=_sizes(plain["view_sizes"]),
            )
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"not an episode trace: {error!r}") from error


def _sizes(plain: Any) -> tuple[Size, ...]:
    return tuple(Size(int(width), int(height)) for width, height in plain)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, not {value!r}")
    return value
