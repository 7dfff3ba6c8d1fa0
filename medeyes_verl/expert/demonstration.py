"""Demonstrations in a column of a table: what a cell may hold, read into turns.

A demonstration is one trajectory that the policy did not write. A cell holds one or several:

- text: the answer of a single turn;
- messages, `[{"role": "assistant", "content": …}, {"role": "tool", …}, …]`: the turns are the assistant's;
- `{"messages": …}`, or `{"token_ids": [[…], …]}` with a list of token ids a turn, each with optional
  `log_probs`, a list a turn: the log-probability of each token under the policy that wrote it;
- a list of any of these: several demonstrations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]
KEYS = frozenset({"messages", "token_ids", "log_probs"})


class DemonstrationError(ValueError):
    """A cell that is no demonstration; the message says what is wrong and what a cell may hold."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One trajectory: the messages after the prompt, or the token ids of its turns."""

    messages: tuple[Message, ...] = ()
    token_ids: tuple[tuple[int, ...], ...] | None = None
    """A sequence a turn; None: `messages` are tokenised by the policy's chat template."""
    log_probs: tuple[tuple[float, ...], ...] | None = None
    """As `token_ids`; None: 0, which is what π_expert = 1 means."""

    @property
    def num_turns(self) -> int:
        """Turns that the policy would have written."""
        if self.token_ids is not None:
            return len(self.token_ids)
        return sum(message["role"] == "assistant" for message in self.messages)


def demonstrations_of(cell: Any) -> list[Demonstration]:
    """Read a cell. An empty one (null, no text, an empty list) holds none. Raises DemonstrationError."""
    cell = _plain(cell)
    if cell is None or cell in ("", [], {}):
        return []
    if isinstance(cell, list) and not _are_messages(cell):
        return [found for each in cell for found in demonstrations_of(each)]
    return [_one(cell)]


def _one(cell: Any) -> Demonstration:
    if isinstance(cell, str):
        return Demonstration(messages=({"role": "assistant", "content": cell},))
    if isinstance(cell, list):
        return Demonstration(messages=_messages(cell))
    if not isinstance(cell, dict):
        raise DemonstrationError(f"{str(cell)[:80]!r} is no demonstration: use text, messages, or a list of them")
    if unknown := cell.keys() - KEYS:
        raise DemonstrationError(f"unknown key {min(unknown)!r}: known are {', '.join(sorted(KEYS))}")
    if ("messages" in cell) == ("token_ids" in cell):
        raise DemonstrationError("give either messages or token_ids")
    log_probs = None if cell.get("log_probs") is None else _turns(cell["log_probs"], "log_probs")
    if log_probs is not None and not all(math.isfinite(each) and each <= 0 for turn in log_probs for each in turn):
        raise DemonstrationError("log_probs must be finite and at most 0")
    if "messages" in cell:
        return Demonstration(_messages(cell["messages"]), None, log_probs)
    ids = _turns(cell["token_ids"], "token_ids")
    if not all(type(each) is int and each >= 0 for turn in ids for each in turn):
        raise DemonstrationError("token_ids must be whole numbers from 0 upwards")
    if log_probs is not None and [*map(len, log_probs)] != [*map(len, ids)]:
        raise DemonstrationError("log_probs must have a number for each of the token_ids")
    return Demonstration((), ids, log_probs)


def _messages(cell: Any) -> tuple[Message, ...]:
    if not isinstance(cell, list) or not _are_messages(cell):
        raise DemonstrationError("messages must be a list of {role, content}")
    # a table gives every message every key that one of them has
    messages = tuple({key: value for key, value in message.items() if value is not None} for message in cell)
    if not any(message["role"] == "assistant" for message in messages):
        raise DemonstrationError("no message has the role assistant, so there is nothing to learn from")
    return messages


def _are_messages(cell: list[Any]) -> bool:
    return bool(cell) and all(isinstance(each, dict) and isinstance(each.get("role"), str) for each in cell)


def _turns(cell: Any, name: str) -> tuple[tuple[Any, ...], ...]:
    """A list of lists; a flat list is a single turn."""
    if isinstance(cell, list) and cell and all(isinstance(each, int | float) for each in cell):
        cell = [cell]
    if not isinstance(cell, list) or not cell or not all(isinstance(turn, list) and turn for turn in cell):
        raise DemonstrationError(f"{name} must be a list for each turn, none of them empty")
    if not all(isinstance(each, int | float) and type(each) is not bool for turn in cell for each in turn):
        raise DemonstrationError(f"{name} must hold numbers")
    return tuple(tuple(turn) for turn in cell)


def _plain(cell: Any) -> Any:
    """Arrays as lists and mappings as dicts, at every depth: what reads a table decides which of them it gives."""
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    if isinstance(cell, Mapping):
        return {str(key): _plain(value) for key, value in cell.items()}
    if isinstance(cell, Sequence) and not isinstance(cell, str | bytes):
        return [_plain(each) for each in cell]
    return cell
