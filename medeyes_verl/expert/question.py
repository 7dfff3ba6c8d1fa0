"""A question as an expert meets it: one row of a benchmark's parquet file that carries an `expert_id`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medeyes_verl.data.row import Region, read_rows
from medeyes_verl.gaze.geometry import Box, Size


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, of which pictures, and what the benchmark knows about it."""

    expert_id: str
    text: str
    question_type: str
    """ "closed", "multiple_choice" or "open"."""
    ground_truth: str
    """For a multiple-choice question the letter of the right option."""
    options: tuple[str, ...]
    image_paths: tuple[str, ...]
    image_sizes: tuple[Size, ...]
    """Of the originals, in pixels."""
    regions: tuple[Region, ...] = ()
    """What the benchmark marks on the first picture."""
    organ: str | None = None
    modality: str | None = None
    location: str | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Question:
        """A row with an expert_id, as `read_rows` gives it."""
        extra = row["extra_info"]
        regions = (
            Region(Box(each["x1"], each["y1"], each["x2"], each["y2"]), each["label"], bool(each["target"]))
            for each in extra["regions"] or ()
        )
        return cls(
            expert_id=extra["expert_id"],
            text=extra["question"],
            question_type=extra["question_type"],
            ground_truth=row["reward_model"]["ground_truth"],
            options=tuple(extra["options"] or ()),
            image_paths=tuple(row["images"]),
            image_sizes=tuple(Size(each["width"], each["height"]) for each in extra["image_sizes"]),
            regions=tuple(regions),
            organ=extra["organ"],
            modality=extra["modality"],
            location=extra["location"],
        )


def read_questions(parquet: Path) -> Iterator[Question]:
    """The questions of a file that may have experts, that is its training rows, a row group in memory at a time.

    Raises ValueError when the file has none, FileNotFoundError when there is no file.
    """
    none = True
    for row in read_rows(parquet):
        if row["extra_info"]["expert_id"] is not None:
            none = False
            yield Question.from_row(row)
    if none:
        raise ValueError(f"{parquet}: no row carries an expert_id; prepare a training file with --expert-ids")
