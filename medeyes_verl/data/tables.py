"""Hugging Face snapshots: parquet files named after their split, pictures in their cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medeyes_verl.data.picture_source import CellPicture, SourceError
from medeyes_verl.data.record import Record, make_record
from medeyes_verl.data.row import Split

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "dev": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "test": "test",
}


def table_rows(
    folder: Path, columns: tuple[str, ...], picture_columns: tuple[str, ...]
) -> Iterator[tuple[Split, Mapping[str, Any], tuple[CellPicture, ...]]]:
    """The rows of all parquet files under `folder`: their split, their text cells, and the pictures they have.

    Pictures are not read. Files are `<split>.parquet`, `<split>-00000-of-00002….parquet` or `<split>/0000.parquet`, in
    any sub-folder; others are no questions.

    Raises SourceError when a file is damaged or lacks a column.
    """
    for path in sorted(folder.rglob("*.parquet")):
        split = SPLIT_NAMES.get(path.parent.name if path.stem.isdigit() else path.stem.split("-")[0])
        if split:
            for row, pictures in _file_rows(path, columns, picture_columns):
                yield split, row, pictures


def simple_records(folder: Path) -> Iterator[Record]:
    """The questions of a snapshot that has the columns image, question and answer, and no more."""
    for split, row, pictures in table_rows(folder, ("question", "answer"), ("image",)):
        yield make_record(split, row["question"], row["answer"], pictures)


def _file_rows(
    path: Path, columns: tuple[str, ...], picture_columns: tuple[str, ...]
) -> Iterator[tuple[Mapping[str, Any], tuple[CellPicture, ...]]]:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise SourceError(f"{path} is not a readable parquet file ({error}); download it again") from error
    with file:
        schema = file.schema_arrow
        lacking = [name for name in (*columns, *picture_columns) if name not in schema.names]
        if lacking:
            raise SourceError(f"{path} lacks the columns {', '.join(lacking)}; it has {', '.join(schema.names)}")
        # The path inside a picture's struct says whether there is one, at no cost.
        probes = [name + ".path" if pa.types.is_struct(schema.field(name).type) else name for name in picture_columns]
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=[*columns, *probes])
            for number, row in enumerate(table.to_pylist()):
                present = [name for name in picture_columns if row[name] is not None]
                yield row, tuple(CellPicture(str(path), group, number, name) for name in present)
