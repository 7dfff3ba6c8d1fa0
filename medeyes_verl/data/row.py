"""One row of every benchmark: the parquet schema that veRL reads, and the only code that builds it.

A row refers to its pictures by path, never by bytes: the trainer copies every column once per rollout, and
a path is a thousand times smaller than a picture. The prompt is one user message, the placeholders of the
pictures first and then the question; the system message belongs to the recipe and is added when the file is
loaded. What else a loop, a reward or a report may want (original sizes, options, regions, the benchmark's
own labels) travels in `extra_info`.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from medeyes_verl.data.atomic import atomic_path
from medeyes_verl.data.image_store import ImageStore, StoredPicture
from medeyes_verl.gaze.geometry import Box

Split = Literal["train", "val", "test"]
QuestionType = Literal["closed", "multiple_choice", "open"]
AnswerType = Literal["CLOSED", "OPEN"]

ABILITY = "medical_vqa"
REWARD_STYLE = "rule"
ROWS_A_GROUP = 1024
LETTERS = string.ascii_uppercase
# veRL splits every message at these; a literal one in a question would shift its pictures.
_PLACEHOLDER = re.compile(r"<(image|video|audio)>")

_REGION = pa.struct(
    [(side, pa.float64()) for side in ("x1", "y1", "x2", "y2")] + [("label", pa.string()), ("target", pa.bool_())]
)
_SIZE = pa.struct([("width", pa.int64()), ("height", pa.int64())])
EXTRA_INFO = pa.struct(
    [
        ("index", pa.int64()),
        ("split", pa.string()),
        ("id", pa.string()),
        ("question", pa.string()),
        ("question_type", pa.string()),
        ("answer_type", pa.string()),
        ("options", pa.list_(pa.string())),
        ("expert_id", pa.string()),
        ("image_sizes", pa.list_(_SIZE)),
        ("organ", pa.string()),
        ("modality", pa.string()),
        ("location", pa.string()),
        ("regions", pa.list_(_REGION)),
    ]
)
ROW_SCHEMA = pa.schema(
    [
        ("data_source", pa.string()),
        ("prompt", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("images", pa.list_(pa.string())),
        ("ability", pa.string()),
        ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
        ("extra_info", EXTRA_INFO),
    ]
)


@dataclass(frozen=True, slots=True)
class Region:
    """A region of the FIRST picture that the source marks.

    Attributes:
        box: pixels of the original picture.
        label: what the source calls it.
        target: the answer is to be found here (a decoy or a bystander is False).
    """

    box: Box
    label: str
    target: bool = False

    def as_dict(self) -> dict[str, Any]:
        box = self.box
        return {
            "x1": box.x1,
            "y1": box.y1,
            "x2": box.x2,
            "y2": box.y2,
            "label": self.label,
            "target": self.target,
        }


@dataclass(frozen=True, slots=True)
class Row:
    """A question, its pictures and its answer.

    Attributes:
        data_source: the benchmark ("vqa_rad", "phantom", ...); rewards and metrics are grouped by it.
        split: "train", "val" or "test".
        id: the question's stable identifier within the benchmark.
        question: the bare question.
        answer: the ground truth; for a multiple-choice question the LETTER of the right option.
        question_type: how it is scored. Closed: yes or no, or what its benchmark calls closed.
        pictures: at least one.
        options: the texts of a multiple-choice question without their letters, else empty.
        expert_id: key into a trajectory store; only training rows may carry one.
        answer_type: the benchmark's own label, for its own way of reporting.
        organ, modality, location: as the benchmark words them.
        regions: what the benchmark marks on the first picture.
    """

    data_source: str
    split: Split
    id: str
    question: str
    answer: str
    question_type: QuestionType
    pictures: tuple[StoredPicture, ...]
    options: tuple[str, ...] = ()
    expert_id: str | None = None
    answer_type: AnswerType | None = None
    organ: str | None = None
    modality: str | None = None
    location: str | None = None
    regions: tuple[Region, ...] = ()

    def __post_init__(self) -> None:
        fault = self._fault()
        if fault:
            raise ValueError(f"{self.data_source} {self.split} question {self.id!r}: {fault}")

    def _fault(self) -> str | None:
        if self.split not in get_args(Split):
            return f"unknown split {self.split!r}, expected one of {', '.join(get_args(Split))}"
        if self.question_type not in get_args(QuestionType):
            known = ", ".join(get_args(QuestionType))
            return f"unknown question type {self.question_type!r}, expected one of {known}"
        if not self.question.strip() or not self.answer.strip():
            return "the question and the answer must not be empty"
        if not self.pictures:
            return "it has no picture"
        if self.expert_id is not None and self.split != "train":
            return "only training rows may carry an expert_id"
        if self.question_type == "multiple_choice":
            if not 2 <= len(self.options) <= len(LETTERS):
                return f"a multiple-choice question needs 2 to {len(LETTERS)} options, not {len(self.options)}"
            if self.answer not in LETTERS[: len(self.options)] or len(self.answer) != 1:
                return f"the answer {self.answer!r} is no letter of its {len(self.options)} options"
        elif self.options:
            return f"a question of type {self.question_type!r} has no options"
        return None

    @property
    def prompt_text(self) -> str:
        """One placeholder a picture, the question, and the lettered options."""
        lines = [
            self.question,
            *(f"{letter}. {text}" for letter, text in zip(LETTERS, self.options, strict=False)),
        ]
        return "<image>" * len(self.pictures) + _PLACEHOLDER.sub(r"[\1]", "\n".join(lines))

    def as_dict(self, index: int) -> dict[str, Any]:
        """The row in the shape of ROW_SCHEMA; `index` is its place in its file."""
        return {
            "data_source": self.data_source,
            "prompt": [{"role": "user", "content": self.prompt_text}],
            "images": [picture.path for picture in self.pictures],
            "ability": ABILITY,
            "reward_model": {"style": REWARD_STYLE, "ground_truth": self.answer},
            "extra_info": {
                "index": index,
                "split": self.split,
                "id": self.id,
                "question": self.question,
                "question_type": self.question_type,
                "answer_type": self.answer_type,
                "options": list(self.options),
                "expert_id": self.expert_id,
                "image_sizes": [picture.size._asdict() for picture in self.pictures],
                "organ": self.organ,
                "modality": self.modality,
                "location": self.location,
                "regions": [region.as_dict() for region in self.regions],
            },
        }


def write_rows(target: Path, rows: Iterable[Row]) -> int:
    """Writes `rows` to a parquet file, whole or not at all; returns how many. Streams by row group."""
    numbered = (row.as_dict(index) for index, row in enumerate(rows))
    count = 0
    with (
        atomic_path(target) as temporary,
        pq.ParquetWriter(temporary, ROW_SCHEMA, compression="zstd") as writer,
    ):
        while group := list(islice(numbered, ROWS_A_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, ROW_SCHEMA))
            count += len(group)
    return count


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a parquet file as plain dicts, one row group in memory at a time; `images` are paths.

    Pictures that are embedded in the file are unpacked into images/ beside it, each once: experts, evaluation and
    report refer to pictures by their paths.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no parquet file, or its columns are not those of ROW_SCHEMA.
    """
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not a readable parquet file: {error}") from error
    with file:
        missing = [name for name in ROW_SCHEMA.names if name not in file.schema_arrow.names]
        if missing:
            raise ValueError(f"{path} lacks the columns {', '.join(missing)}; write it with medeyes-verl prepare")
        for group in file.iter_batches(batch_size=ROWS_A_GROUP):
            for row in group.to_pylist():
                row["images"] = [_path_of(image, path) for image in row["images"]]
                yield row


def _path_of(image: str | dict[str, bytes], table: Path) -> str:
    return image if isinstance(image, str) else ImageStore(table.parent).add_bytes(image["bytes"], str(table)).path


def prompt_messages(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row's prompt in the form in which veRL's dataset hands it to the agent loop: <image> is a picture's place."""
    return [
        {
            "role": message["role"],
            "content": [
                {"type": "image"} if part == "<image>" else {"type": "text", "text": part}
                for part in re.split("(<image>)", message["content"])
                if part
            ],
        }
        for message in row["prompt"]
    ]
