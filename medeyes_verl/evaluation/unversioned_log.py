"""Lines of episode logs from before the trace had a version: a record beside turns, read into today's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medeyes_verl.gaze.grammar import parse_turn
from medeyes_verl.gaze.trace import VERSION


def with_trace(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the line with `trace` in place of `record`, `turns`, `image_sizes`, `view_sizes` and `tokens`.

    Those lines named faults and modes per episode: each turn gets back its own, in order. Raises KeyError, TypeError
    or ValueError for a line that was not written by such a log.
    """
    rest = dict(plain)
    record, turns = rest.pop("record"), rest.pop("turns")
    faults, modes = list(record["faults"]), iter(record["modes"])
    traced = []
    for turn in turns:
        parsed = parse_turn(turn["text"])
        refused = parsed.box is not None and turn["box"] is None  # the gaze itself was at fault
        own = len(parsed.faults) + refused
        traced.append(
            {
                "text": turn["text"],
                "reasoning": parsed.reasoning,
                "feedback": turn["observation"],
                "box": turn["box"],
                "image": turn["image"],
                "mode": None if turn["box"] is None else next(modes, None),
                "faults": faults[:own],
                "num_tokens": 0,
            }
        )
        del faults[:own]
    if traced:  # what no turn accounts for still happened
        traced[-1]["faults"] += faults
        traced[-1]["num_tokens"] = rest.pop("tokens")
    rest.pop("tokens", None)
    rest["trace"] = {
        "version": VERSION,
        "turns": traced,
        "answer": record["answer"],
        "finish": record["finish"],
        "image_sizes": rest.pop("image_sizes"),
        "view_sizes": rest.pop("view_sizes"),
    }
    return rest
