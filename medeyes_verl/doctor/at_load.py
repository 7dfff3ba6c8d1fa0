"""A row as the trainer's data set hands it on: the keys that it adds, counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medeyes_verl.data.completion import complete
from medeyes_verl.doctor.table import Completion

INFERRED = ("id", "question", "question_type", "options")
"""Keys of extra_info that a rollout, the reward or a validation reads."""


def at_load(number: int, row: Mapping[str, Any]) -> Completion:
    """Complete a row as the data set does. Raises ValueError with the trainer's own words where it refuses the row."""
    given = row["extra_info"] if isinstance(row.get("extra_info"), Mapping) else {}
    completed = complete(row, None if given.get("id") is not None else f"row-{number}")
    added = [key for key in INFERRED if given.get(key) is None and completed.extra_info.get(key) is not None]
    model = {**row["reward_model"], "ground_truth": completed.ground_truth}
    if row["reward_model"].get("ground_truth") != completed.ground_truth:
        added.append("ground_truth as the letter of its option")
    return Completion({**row, "extra_info": completed.extra_info, "reward_model": model}, tuple(added))
