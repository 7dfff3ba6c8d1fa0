"""Completes a row of a table that was not made by this project, or says why it cannot be.

veRL itself asks little of a table: a prompt, images, `reward_model.ground_truth`. Episode, reward and logs here also
want an id, the question, its type and its options. Those are inferred from what every table has; a row that lacks
what nothing can stand in for is refused with its file, number and key, before the first rollout.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from medeyes_verl.data.record import scored_as
from medeyes_verl.data.row import EXTRA_INFO, LETTERS, QuestionType

PLACE = "<image>"
UNKNOWN_SOURCE = "unknown"
"""What veRL calls the `data_source` of rows that name none (trainer_base.py:_validate)."""
EXAMPLES_SHOWN = 3
ROWS_AT_ONCE = 1024
_OPTION_LINE = re.compile(r"^[ \t]*\(?([A-Z])[).:][ \t]+(\S.*?)[ \t]*$", re.MULTILINE)
_OPTION_INLINE = re.compile(r"(?:(?<=\s)|^)\(?([A-Z])[).:]\s+(.+?)(?=\s+\(?[A-Z][).:]\s|\s*$)", re.DOTALL)
_INLINE_START = re.compile(r"(?:^|[?:.!]\s+|\n)A\.\s|(?:^|\s)\(?A[):]\s")
"""In running text "A." ends a sentence more often than it starts a list, which follows a question or a colon."""
_LETTER = re.compile(r"[\s(\[*]*([A-Z])[\s)\].:*]*")


class RowRefusedError(ValueError):
    """A row lacks what nothing can stand in for."""

    def __init__(self, key: str, reason: str, remedy: str) -> None:
        super().__init__(f"{key}: {reason}; {remedy}")
        self.key = key


@dataclass(frozen=True, slots=True)
class Completed:
    """What episode, reward and logs read of a row."""

    extra_info: dict[str, Any]
    """The row's own `extra_info` with every key of `EXTRA_INFO`: given values stay, others are inferred or None."""
    ground_truth: str
    """As our reward compares it: for multiple choice the LETTER of the right option."""


def complete(row: Mapping[str, Any], name: str | None = None) -> Completed:
    """Complete one row; its `prompt` (or veRL's `raw_prompt`) and `reward_model` are read, its images are not.

    Args:
        row: as the table holds it, or as veRL hands it to a reward manager.
        name: the id to give where the row has none of its own; None takes `extra_info.index`.

    Raises:
        RowRefusedError: no text as ground truth, or a question type that does not fit it.

    >>> row = {"prompt": [{"role": "user", "content": "<image>Is it?"}], "reward_model": {"ground_truth": "Yes"}}
    >>> complete(row, "row-0").extra_info["question_type"]
    'closed'
    """
    given = {key: _plain(value) for key, value in dict(row.get("extra_info") or {}).items()}
    truth = ground_truth(row)
    question = given.get("question") or prompt_text(row)
    options = _options(given.get("options"))
    if options is None:
        options = options_in(question) or options_in(prompt_text(row))
    kind, truth, options = _question_type(given.get("question_type"), truth, options)
    inferred = {
        "id": str(given["id"]) if given.get("id") is not None else _name(given, name),
        "question": question,
        "question_type": kind,
        "options": options,
        "image_sizes": given.get("image_sizes") or [],
        "regions": given.get("regions") or [],
    }
    absent = {field.name: None for field in EXTRA_INFO if field.name not in given}
    return Completed({**absent, **given, **inferred}, truth)


def own_name(extra_info: Mapping[str, Any] | None) -> str | None:
    """The name a row gives itself: its `id`, else its `index`; None where it has neither."""
    extra = extra_info or {}
    return next((str(extra[key]) for key in ("id", "index") if extra.get(key) is not None), None)


def ground_truth(row: Mapping[str, Any]) -> str:
    """The row's `reward_model.ground_truth`. Raises RowRefusedError unless it is text with something in it."""
    key, remedy = "reward_model.ground_truth", "write the correct answer there as text"
    model = row.get("reward_model")
    if not isinstance(model, Mapping) or model.get("ground_truth") is None:
        raise RowRefusedError(key, "there is none", remedy)
    truth = model["ground_truth"]
    if not isinstance(truth, str):
        raise RowRefusedError(key, f"{truth!r} is no text but a {type(truth).__name__}", remedy)
    if not truth.strip():
        raise RowRefusedError(key, "it is empty", remedy)
    return truth


def prompt_text(row: Mapping[str, Any], prompt_key: str = "prompt") -> str:
    """The text of the last user message, without image places."""
    messages = row.get("raw_prompt")
    messages = row.get(prompt_key) if messages is None else messages
    texts = [_text_of(message.get("content")) for message in _messages(messages) if message.get("role") == "user"]
    return texts[-1].replace(PLACE, "").strip() if texts else ""


def options_in(text: str) -> list[str]:
    """The lettered options (`A. …`, `(B) …`, `C: …`) at the end of a question, without letters; [] without any.

    >>> options_in("Which organ?\\nA. Lung\\nB. Heart")
    ['Lung', 'Heart']
    >>> options_in("What? (A) left (B) right"), options_in("Vitamin A. is shown")
    (['left', 'right'], [])
    """
    for pattern in (_OPTION_LINE, _OPTION_INLINE) if _INLINE_START.search(text) else (_OPTION_LINE,):
        found = pattern.findall(text)
        start = max((i for i, (letter, _) in enumerate(found) if letter == "A"), default=len(found))
        options = [
            option for (letter, option), expected in zip(found[start:], LETTERS, strict=False) if letter == expected
        ]
        if len(options) >= 2 and len(options) == len(found[start:]):
            return [option.strip() for option in options]
    return []


def table_problems(path: Path, prompt_key: str = "prompt", image_key: str = "images") -> list[str]:
    """Why rows of a parquet or JSON-lines table cannot be used: one line a key, with the count and the first rows.

    Images are counted, not read. Raises ValueError when the file cannot be read.
    """
    refused: dict[str, list[str]] = {}
    count = 0
    for number, row in enumerate(_rows(path, image_key)):
        count += 1
        try:
            _check(row, prompt_key, image_key)
        except RowRefusedError as error:
            refused.setdefault(error.key, []).append(f"row {number}{_called(row)}: {str(error).partition(': ')[2]}")
    if not count:
        return [f"{path}: the table has no rows; prepare it again"]
    return [
        f"{path}: {key}: {len(rows)} of {count} rows cannot be used: {' | '.join(rows[:EXAMPLES_SHOWN])}"
        for key, rows in refused.items()
    ]


def names_are_unique(path: Path) -> bool:
    """Whether every row of a table gives itself a name, and no two of one data source the same."""
    seen: Counter[tuple[str, str]] = Counter()
    for row in _rows(path, None):
        name = own_name(row.get("extra_info"))
        if name is None:
            return False
        seen[str(row.get("data_source")), name] += 1
    return all(times == 1 for times in seen.values())


def _check(row: Mapping[str, Any], prompt_key: str, image_key: str) -> None:
    messages = row.get(prompt_key)
    if isinstance(messages, str) or not list(_messages(messages)):
        raise RowRefusedError(prompt_key, f"it is no list of messages but {messages!r:.60}", "write role and content")
    complete({**row, "prompt": messages, "raw_prompt": None}, "unnamed")
    places = sum(_text_of(message.get("content")).count(PLACE) for message in _messages(messages))
    images = row[image_key]
    if places != images:
        raise RowRefusedError(
            image_key, f"{images} images for {places} {PLACE} in {prompt_key}", f"write one {PLACE} for each image"
        )


def _rows(path: Path, image_key: str | None) -> Iterator[dict[str, Any]]:
    """The rows without their images, whose number takes the column's place."""
    try:
        if path.suffix == ".parquet":
            yield from _parquet_rows(path, image_key)
        else:
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    row = json.loads(line)
                    if image_key is not None:
                        row[image_key] = _count(row.get(image_key))
                    yield row
    except (OSError, pa.ArrowException, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a readable table: {error}") from error


def _parquet_rows(path: Path, image_key: str | None) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        others = [name for name in schema.names if name not in (image_key, "images", "image")]
        # the path of an embedded image tells that there is one, without reading its bytes
        leaves = [
            leaf
            for leaf in (file.schema.column(i).path for i in range(len(file.schema.names)))
            if leaf.split(".")[0] == image_key
        ]
        light = [leaf for leaf in leaves if not leaf.endswith(".bytes")] or leaves
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=[*others, *light[:1]]):
            for row in batch.to_pylist():
                if image_key is not None:
                    row[image_key] = _count(row.get(image_key))
                yield row


def _count(images: object) -> int:
    if images is None:
        return 0
    return len(images) if isinstance(images, list | tuple) else 1


def _question_type(given: object, truth: str, options: list[str]) -> tuple[QuestionType, str, list[str]]:
    """The question's type, the ground truth as it is compared, and the options of a multiple-choice question."""
    if given is not None and given not in get_args(QuestionType):
        known = ", ".join(get_args(QuestionType))
        raise RowRefusedError("extra_info.question_type", f"{given!r} is unknown", f"use one of {known}")
    letter = _option_letter(truth, options)
    if given == "multiple_choice" and letter is None:
        raise RowRefusedError(
            "reward_model.ground_truth",
            f"{truth!r} is no letter of its {len(options)} options",
            "name the letter, and the options in extra_info.options or as lettered lines of the prompt",
        )
    if letter is not None and given in (None, "multiple_choice"):
        return "multiple_choice", letter, options
    kind: QuestionType = scored_as(truth) if given is None else given  # type: ignore[assignment]
    return kind, truth, []


def _option_letter(truth: str, options: Sequence[str]) -> str | None:
    """The letter of the right option, from the letter or from the option's own text."""
    if len(options) < 2:
        return None
    if (match := _LETTER.fullmatch(truth)) and match[1] in LETTERS[: len(options)]:
        return match[1]
    same = [i for i, option in enumerate(options) if option.strip().casefold() == truth.strip().casefold()]
    return LETTERS[same[0]] if len(same) == 1 else None


def _options(given: object) -> list[str] | None:
    """Options as tables write them: a list, a mapping by letter, or either as JSON; None where there are none."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except json.JSONDecodeError:
            return None
    if isinstance(given, Mapping):
        given = [given[letter] for letter in LETTERS if given.get(letter) is not None]
    if not isinstance(given, list | tuple) or not given:
        return None
    return [str(option) for option in given]


def _name(extra: Mapping[str, Any], name: str | None) -> str:
    return name if name is not None else own_name(extra) or "unnamed"


def _called(row: Mapping[str, Any]) -> str:
    extra = row.get("extra_info")
    name = own_name(extra) if isinstance(extra, Mapping) else None
    return "" if name is None else f" ({name})"


def _messages(messages: Any) -> Iterator[Mapping[str, Any]]:
    if messages is not None and not isinstance(messages, str):
        yield from (message for message in messages if isinstance(message, Mapping))


def _text_of(content: Any) -> str:
    """A message's content as one text, whichever of veRL's two forms it has; an image part is its place."""
    if isinstance(content, str):
        return content
    parts = []
    for part in content if content is not None else ():
        if isinstance(part, Mapping):
            parts.append(PLACE if part.get("type") == "image" else str(part.get("text") or ""))
    return "".join(parts)


def _plain(value: Any) -> Any:
    """Arrays, which pandas and numpy put where a table had lists, as lists."""
    return value.tolist() if hasattr(value, "tolist") else value
