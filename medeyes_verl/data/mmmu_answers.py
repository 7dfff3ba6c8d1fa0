"""MMMU's answer files: `answer_dict_val.json`, and `answer_dict_test.json`, released on 2026-02-12.

The authors' form is `{id: {"question_type": …, "ground_truth": answer or list of accepted answers}}`; the plain
`{id: answer}` is read as well.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medeyes_verl.data.image_source import SourceError, check_file

NAMES = ("answer_dict_test.json", "answer_dict_val.json")
MAX_BYTES = 64 * 2**20
"""The published test file has about 1 MB."""
_TYPES = ("multiple-choice", "short-answer", "open")
_REMEDY = "give the authors' file to --answers"


@dataclass(frozen=True, slots=True)
class Answer:
    """The accepted answers of a question, the first of them the one that is taken; `choice` None where not said."""

    accepted: tuple[str, ...]
    choice: bool | None = None


def answer_files(folder: Path, given: Path | None) -> list[Path]:
    """The answer files of a source: the one that was given, and those that lie in the folder or in its `mmmu/`."""
    beside = [place / name for place in (folder, folder / "mmmu") for name in NAMES]
    found = [path for path in beside if path.is_file()]
    return found if given is None else [given, *(path for path in found if not path.samefile(check_file(given)))]


def read_answers(paths: list[Path]) -> dict[str, Answer]:
    """Id -> answer. Raises SourceError naming file and id for what is no answer, or for two that differ."""
    answers: dict[str, Answer] = {}
    for path in paths:
        for name, value in _object(path).items():
            answer = _answer(value, f"{path}: {name}")
            if answers.setdefault(name, answer).accepted != answer.accepted:
                raise SourceError(f"{path}: {name} has another answer than in {paths[0]}; give one of the files")
    return answers


def _object(path: Path) -> dict[str, Any]:
    if check_file(path).stat().st_size > MAX_BYTES:
        raise SourceError(f"{path} is larger than {MAX_BYTES} bytes; {_REMEDY}")
    try:
        found = json.loads(path.read_text("utf-8-sig"), object_pairs_hook=lambda pairs: _unique(pairs, path))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} is no readable JSON ({error}); download it again") from error
    if not isinstance(found, dict) or not found:
        raise SourceError(f"{path} is no object of answers by id; {_REMEDY}")
    return found


def _unique(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            raise SourceError(f"{path} holds {key} twice with different values; {_REMEDY}")
    return found


def _answer(value: Any, place: str) -> Answer:
    kind = None
    if isinstance(value, dict):
        if "ground_truth" not in value:
            raise SourceError(f"{place} lacks ground_truth; {_REMEDY}")
        kind, value = value.get("question_type"), value["ground_truth"]
        if kind is not None and kind not in _TYPES:
            raise SourceError(f"{place} has question_type {kind!r}; known are {', '.join(_TYPES)}")
    accepted = value if isinstance(value, list) else [value]
    if not accepted or not all(isinstance(text, str) and text.strip() for text in accepted):
        raise SourceError(
            f"{place} has the answer {str(value)[:80]!r}, which is no text and no list of texts; {_REMEDY}"
        )
    return Answer(tuple(text.strip() for text in accepted), None if kind is None else kind == _TYPES[0])
