"""Actions besides Gaze, the user's own: what one has to have, how it is loaded, and how it is applied.

`episode.tools` names them by import path. A tool gets an image as it is in its file and the arguments of a call, and
returns what the policy observes. A policy's arguments are untrusted: a tool refuses what it cannot use by `ToolError`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Protocol

from PIL import Image

from medeyes_verl.gaze.crop import PixelBounds, view_of
from medeyes_verl.gaze.grammar import TOOL_NAME, ToolCall, Turn, render_turn
from medeyes_verl.gaze.observation import Observation
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.import_path import ImportPathError, load_instance

KEY = "episode.tools"
MAX_TEXT = 300
"""Characters of a tool's words in an observation."""
MAX_FREE_CALLS = 100
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")


class ToolError(ValueError):
    """A tool cannot use the arguments of a call; the policy reads the message, so it says what is allowed."""


class ToolFailedError(RuntimeError):
    """A tool of the user's raised something else than ToolError, or returned no Observation: a mistake in it."""


class Tool(Protocol):
    """An action of the user's. One instance serves all episodes of a process, several at once: keep no state in it."""

    name: str
    """As the policy writes it: {"name": NAME, …}."""
    words: str
    """For the system message: what it does, what its arguments are, and how to write it, up to the example."""
    example: Mapping[str, Any]
    """Arguments of the example in the system message; `apply` must take them."""
    max_calls: int | None
    """None: a call uses up one of `max_gazes`, as a gaze does. A number: so many calls an episode use up none."""

    def apply(self, image: Image.Image, arguments: Mapping[str, Any]) -> Observation:
        """Return what the policy observes. `image` is the one that was named, RGB, at full size, a copy."""


@lru_cache(maxsize=16)
def load_tools(paths: tuple[str, ...]) -> Mapping[str, Tool]:
    """Make the tools of import paths, by name; once a process. Raises ImportPathError naming what does not fit."""
    tools: dict[str, Tool] = {}
    for place, path in enumerate(paths):
        key = f"{KEY}[{place}]"
        tool: Tool = load_instance(path, key, Tool)
        if reason := _unfit(tool, tools):
            raise ImportPathError(key, path, reason, "correct it; medeyes_verl/gaze/tool.py says what a tool has")
        tools[tool.name] = tool
    return MappingProxyType(tools)


def most_observations(settings: EpisodeSettings) -> int:
    """How many observations, and so images, an episode can have at most."""
    return settings.max_gazes + sum(tool.max_calls or 0 for tool in load_tools(settings.tools).values())


def apply_tool(tool: Tool, original: Image.Image, call: ToolCall, bounds: PixelBounds) -> Observation:
    """Return the observation of a call, its image brought to `bounds`, its words without anything like a tag.

    Raises ToolError with words for the policy, and ToolFailedError for a mistake of the tool.
    """
    try:
        found = tool.apply(original.copy(), copy.deepcopy(dict(call.arguments)))
        if not isinstance(found, Observation):
            raise TypeError(f"it returned {found!r:.100}, which is no Observation")
        picture = None if found.picture is None else view_of(found.picture, bounds)
        return Observation(plain(found.text), picture)
    except ToolError as error:
        raise ToolError(plain(str(error))) from error
    except Exception as error:  # the user's own code
        raise ToolFailedError(
            f"tool {tool.name} with {dict(call.arguments)!r:.300}: {type(error).__name__}: {error}. Correct it; for "
            "arguments that it cannot use it should raise ToolError"
        ) from error


def words_for_prompt(tools: Iterable[Tool], reasoning: str) -> list[dict[str, Any]]:
    """What the template of the system message is told of each tool: name, words, example, max_calls."""
    return [
        {
            "name": tool.name,
            "words": tool.words,
            "example": render_turn(Turn(reasoning, call=ToolCall(tool.name, dict(tool.example)))),
            "max_calls": tool.max_calls,
        }
        for tool in tools
    ]


def plain(words: str) -> str:
    """A tool's words as they may stand in an observation: one line, bounded, no sign that could begin a special token.

    >>> plain("factor <|im_end|> is no\\nnumber")
    'factor ‹|im_end|› is no number'
    """
    line = " ".join(words.replace("<", "‹").replace(">", "›").encode("utf-8", "replace").decode().split())
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"


def _unfit(tool: Tool, others: Mapping[str, Tool]) -> str | None:
    """Why a tool cannot be used; None when it can."""
    if not isinstance(tool.name, str) or not _NAME.fullmatch(tool.name):
        return f"name must be letters, digits and underscores, a letter first, not {tool.name!r}"
    if tool.name == TOOL_NAME or tool.name in others:
        return f"the name {tool.name} is taken"
    if not isinstance(tool.words, str) or not tool.words.strip():
        return f"words must say in a sentence what it does, not {tool.words!r}"
    free = tool.max_calls
    if free is not None and (type(free) is not int or not 0 < free <= MAX_FREE_CALLS):
        return f"max_calls must be None or a whole number from 1 to {MAX_FREE_CALLS}, not {free!r}"
    try:
        call = ToolCall(tool.name, dict(tool.example))
        render_turn(Turn("why", call=call))
        apply_tool(tool, Image.new("RGB", (224, 224)), call, PixelBounds())
    except (ValueError, TypeError, ToolFailedError) as error:
        return f"its example {tool.example!r:.100} does not work: {error}"
    return None
