"""Findings about a model folder and prepared tables: the mistakes that otherwise show minutes into a run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from medeyes_verl.doctor.check import Finding
from medeyes_verl.expert.store import StoreError, TrajectoryStore
from medeyes_verl.gaze.crop import open_picture

EXAMPLES_SHOWN = 3
REBUILD = "prepare the table again with data_preprocess/"


def model(folder: str) -> Iterator[Finding]:
    """The processor loads and its chat template has a place for a picture in a user turn."""
    from transformers import AutoProcessor

    from medeyes_verl.gaze.conversation import Conversation

    subject = f"{folder}: processor"
    try:
        processor = AutoProcessor.from_pretrained(folder)
    except Exception as error:
        yield Finding(subject, False, f"{type(error).__name__}: {error}", "give the folder of a vision-language model")
        return
    has_pictures = getattr(processor, "image_processor", None) is not None
    yield Finding(subject, has_pictures, type(processor).__name__, "a vision-language model is needed")
    subject = f"{folder}: chat template shows pictures between turns"
    try:
        messages = [{"role": "user", "content": "question"}]
        Conversation(processor, messages, views=[], response_length=1)
    except Exception as error:
        yield Finding(subject, False, str(error), "set a ChatML-like chat_template in the model's processor")
        return
    yield Finding(subject, True, "yes")


def table(path: Path) -> Iterator[Finding]:
    """Columns, pictures and expert ids of a prepared table; experts are looked up in the folder beside it."""
    try:
        rows = pq.read_table(path).to_pylist()
    except Exception as error:
        yield Finding(f"{path}: readable", False, f"{type(error).__name__}: {error}", REBUILD)
        return
    yield Finding(f"{path}: rows", bool(rows), str(len(rows)), REBUILD)
    places = [_name(i, row) for i, row in enumerate(rows) if _places(row) != len(row.get("images") or [])]
    yield _none(f"{path}: <image> places equal pictures", places, "rows", REBUILD)
    broken = _unreadable(rows, path.parent)
    yield _none(f"{path}: pictures can be read", broken, "pictures", "put them where the table says")
    unanswered = [_name(i, row) for i, row in enumerate(rows) if not row["reward_model"]["ground_truth"].strip()]
    yield _none(f"{path}: every row has an answer", unanswered, "rows", REBUILD)
    experts = [row["extra_info"].get("expert_id") for row in rows]
    if any(experts):
        split = {row["extra_info"]["split"] for row in rows}
        yield Finding(
            f"{path}: experts only in training rows", split == {"train"}, f"split {', '.join(sorted(split))}", REBUILD
        )
        yield _experts_found(path, [expert for expert in experts if expert])


def _places(row: dict[str, Any]) -> int:
    return sum(message["content"].count("<image>") for message in row["prompt"])


def _unreadable(rows: list[dict[str, Any]], folder: Path) -> list[str]:
    """One line for each distinct picture that cannot be opened; relative paths start from the table's folder.

    Pictures kept in the table have no file to check.
    """
    broken = []
    for path in dict.fromkeys(path for row in rows for path in row["images"] if isinstance(path, str)):
        try:
            open_picture(folder / path)
        except ValueError as error:
            broken.append(str(error))
    return broken


def _experts_found(path: Path, expert_ids: list[str]) -> Finding:
    store_path = path.parent / "experts"
    subject = f"{store_path}: has the experts of {path.name}"
    remedy = f"make them: medeyes-verl experts script --data {path} --store {store_path}"
    try:
        store = TrajectoryStore(store_path)
    except StoreError as error:
        return Finding(subject, False, str(error), remedy)
    absent = [expert_id for expert_id in expert_ids if not store.get(expert_id)]
    return _none(subject, absent, "questions", remedy)


def _none(subject: str, wrong: list[str], noun: str, remedy: str) -> Finding:
    if not wrong:
        return Finding(subject, True, "yes")
    return Finding(subject, False, f"{len(wrong)} {noun} not: {'; '.join(wrong[:EXAMPLES_SHOWN])}", remedy)


def _name(i: int, row: dict[str, Any]) -> str:
    return f"row {i} ({row['extra_info'].get('id')})"
