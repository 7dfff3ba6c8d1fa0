"""What of a single row no rollout, reward or validation could use. Nothing here raises, whatever the row holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from medeyes_verl.reward.answer import is_correct

Check = Literal["prompt", "places", "sizes", "answer", "question_type", "id", "data_source", "expert_id"]
_LIST_AS_TEXT = re.compile(r"\[\s*(['\"]).*\1\s*,?\s*\]", re.DOTALL)
_PLACE = "<image>"


def row_faults(row: Mapping[str, Any]) -> Iterator[tuple[Check, str]]:
    """The faults of a row as (check, what is wrong), images aside."""
    extra = mapping_of(row, "extra_info")
    prompt = _prompt_fault(row.get("prompt"))
    if prompt is not None:
        yield "prompt", prompt
    else:
        images = row.get("images")
        images = images if isinstance(images, list) else []
        places = sum(message["content"].count(_PLACE) for message in row["prompt"])
        if not images:
            yield "places", "it has no image"
        elif places != len(images):
            yield "places", f"{places} places for {len(images)} images"
    if not isinstance(row.get("data_source"), str) or not row["data_source"].strip():
        yield "data_source", f"data_source is {_short(row.get('data_source'))}"
    if not isinstance(extra.get("id"), str) or not extra["id"].strip():
        yield "id", f"extra_info.id is {_short(extra.get('id'))}"
    truth = mapping_of(row, "reward_model").get("ground_truth")
    answer = _answer_fault(truth)
    if answer is not None:
        yield "answer", answer
    else:
        try:
            is_correct("", truth, extra.get("question_type"), tuple(extra.get("options") or ()))  # type: ignore[arg-type]
        except (ValueError, TypeError, AttributeError) as error:
            yield "question_type", str(error)
    yield from _expert_faults(extra)


def mapping_of(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A column of mappings; {} where the row has none."""
    value = row.get(key)
    return value if isinstance(value, Mapping) else {}


def row_name(number: int, row: Mapping[str, Any]) -> str:
    """A row's place in its file and its id."""
    return f"row {number} ({_short(mapping_of(row, 'extra_info').get('id'))})"


def _prompt_fault(prompt: Any) -> str | None:
    if not isinstance(prompt, list) or not prompt:
        return f"prompt is {_short(prompt)}, not a list of messages"
    for message in prompt:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            return f"a message is {_short(message)}, without a role"
        if not isinstance(message.get("content"), str):
            return f"a message's content is {_short(message.get('content'))}, not text"
    if prompt[-1]["role"] != "user":
        return f"the last message is of role {prompt[-1]['role']!r}, not user"
    return None


def _answer_fault(truth: Any) -> str | None:
    if not isinstance(truth, str):
        return f"ground_truth is {_short(truth)}, not text"
    if not truth.strip():
        return "ground_truth is empty"
    if truth.strip().lower() == "nan":
        return "ground_truth is 'nan', which is what a missing value becomes as text"
    if _LIST_AS_TEXT.fullmatch(truth.strip()):
        return f"ground_truth is {_short(truth)}, a list turned into text"
    return None


def _expert_faults(extra: Mapping[str, Any]) -> Iterator[tuple[Check, str]]:
    expert = extra.get("expert_id")
    if expert is None:
        return
    if not isinstance(expert, str) or not expert:
        yield "expert_id", f"expert_id is {_short(expert)}, not text"
    elif extra.get("split") != "train":
        yield "expert_id", f"it has an expert_id and is of split {_short(extra.get('split'))}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
