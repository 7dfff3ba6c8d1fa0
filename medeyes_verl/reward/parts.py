"""Reward parts of the user's own, named by import path below `reward.medeyes.parts`.

A part is a function of the episode's trace and the facts of its row, sync or async:

    def r_length(trace: EpisodeTrace, row: RowFacts) -> float: ...

It returns a finite number, or a mapping with `score` and further metrics. The reward grows by weight times score.
Training, evaluation and doctor call the same functions.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import numbers
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from medeyes_verl.gaze.trace import EpisodeTrace
from medeyes_verl.import_path import load_function
from medeyes_verl.settings.reader import SettingError, check, shown

KEY = "reward.medeyes.parts"
PARAMETERS = ("trace", "row")
# fmt: off
RESERVED = frozenset({
    "acc", "accuracy", "advantage", "advantage_size", "answered", "custom", "diversity", "drill_share", "exact_match",
    "format_valid", "gazes", "grammar", "id", "missing_rows", "probability_before", "r_acc", "r_custom", "r_div",
    "r_grammar", "replayed_share", "response_length", "reward", "reward_error", "reward_error_text", "rows",
    "scan_share", "score", "silent_groups", "token_f1", "tool_calls", "total", "turns", "written_tokens",
    "zero_advantage_groups",
})
# fmt: on
"""Names that are logged already."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


class ScoreError(ValueError):
    """What a reward function returned is no score."""


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What a row of the table says of the question."""

    ground_truth: str
    question_type: str
    """closed, multiple_choice or open."""
    options: tuple[str, ...] = ()
    """Texts of a multiple-choice question's options."""
    data_source: str = ""
    extra_info: Mapping[str, Any] = field(default_factory=dict)
    """The row's column, whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSettings:
    """One entry of `reward.medeyes.parts`."""

    name: str
    """The name it is logged under."""
    path: str
    """Its import path."""
    weight: float = 1.0
    """A finite number; negative for a penalty; at 0 the function is not called."""

    def __post_init__(self) -> None:
        check(self)
        if not _NAME.fullmatch(self.name):
            raise SettingError("name", shown(self.name), "use letters, digits and underscores, a letter first")
        if self.name in RESERVED:
            raise SettingError("name", shown(self.name), "medeyes_verl logs a metric of this name: choose another")


@dataclass(frozen=True, slots=True)
class OwnScores:
    """What the user's parts gave one episode."""

    total: float = 0.0
    """The weighted sum."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """By name, before their weights."""
    others: Mapping[str, Any] = field(default_factory=dict)
    """The further metrics, as NAME.METRIC."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is loaded."""

    settings: PartSettings
    function: Callable[..., Any]


@lru_cache(maxsize=8)
def load_parts(settings: tuple[PartSettings, ...]) -> tuple[Part, ...]:
    """Load the parts whose weight is not 0. Raises ImportPathError."""
    return tuple(
        Part(part, load_function(part.path, f"{KEY}[{place}].path", PARAMETERS))
        for place, part in enumerate(settings)
        if part.weight
    )


async def score_parts(settings: tuple[PartSettings, ...], trace: EpisodeTrace, row: RowFacts) -> OwnScores:
    """Score an episode with the user's parts. Raises what a part raises, with its name in the text."""
    total, scores, others = 0.0, dict[str, float](), dict[str, Any]()
    for part in load_parts(settings):
        name = part.settings.name
        try:
            result = await call(part.function, trace, row)
            scores[name], more = score_of(result, f"the reward part {name} ({part.settings.path})")
        except ScoreError:
            raise
        except Exception as error:
            raise ScoreError(
                f"the reward part {name} ({part.settings.path}): {type(error).__name__}: {error}"
            ) from error
        others |= {f"{name}.{key}": value for key, value in more.items()}
        total += part.settings.weight * scores[name]
    return OwnScores(total, scores, others)


async def call(function: Callable[..., Any], *positional: Any, **named: Any) -> Any:
    """Call a sync or async function; a sync one in a thread, so that it does not hold up other rows."""
    if inspect.iscoroutinefunction(function):
        return await function(*positional, **named)
    result = await asyncio.to_thread(function, *positional, **named)
    return await result if inspect.isawaitable(result) else result


def score_of(result: Any, whose: str) -> tuple[float, dict[str, Any]]:
    """Return the score and the further entries of what a reward function returned. Raises ScoreError."""
    others: dict[str, Any] = {}
    score = result
    if isinstance(result, Mapping):
        if "score" not in result:
            raise ScoreError(f"{whose} returned a mapping without 'score': {sorted(map(str, result))}")
        score = result["score"]
        others = {str(key): value for key, value in result.items() if key != "score"}
    if hasattr(score, "item") and getattr(score, "size", None) is not None and not isinstance(score, numbers.Number):
        score = score.item()  # a tensor or an array of one number
    if not isinstance(score, numbers.Real) or not math.isfinite(score):
        raise ScoreError(f"{whose} returned {score!r:.200}, which is no finite number")
    return float(score), others
