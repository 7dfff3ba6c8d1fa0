"""The rows of a Hugging Face snapshot's parquet files, whose images lie in their cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from medeyes_verl.data.image_source import CellPicture, SourceError, check_file
from medeyes_verl.data.record import Record, make_record, read_answer_type
from medeyes_verl.data.row import Split
from medeyes_verl.data.shards import Table, tables_in

LABELS = {
    "id": ("qid", "id"),
    "answer_type": ("answer_type",),
    "organ": ("image_organ", "organ"),
    "modality": ("modality",),
    "location": ("location",),
    "language": ("q_lang",),
    "phrase_type": ("phrase_type",),
}
"""What a benchmark says of a question -> the columns it may be in, where a snapshot has kept them."""
_OTHERS = tuple(column for columns in LABELS.values() for column in columns)


class TableRow(NamedTuple):
    """One row: its split, its cells but for images (optional columns only where the file has them), and where it is."""

    split: Split
    cells: Mapping[str, Any]
    pictures: tuple[CellPicture, ...]
    place: str

    def labelled(self, what: str) -> object:
        """What the row says under one of the keys of LABELS, or None."""
        return next((self.cells[column] for column in LABELS[what] if self.cells.get(column) is not None), None)


def table_rows(
    tables: Sequence[Table], columns: tuple[str, ...], picture_columns: tuple[str, ...]
) -> Iterator[TableRow]:
    """The rows of these files; images are not read. Raises SourceError when a file is damaged or lacks a column."""
    for table in tables:
        yield from _file_rows(table, columns, picture_columns)


def simple_records(folder: Path) -> Iterator[Record]:
    """The questions of a snapshot with the columns image, question, answer, and whatever else of LABELS it has."""
    return map(simple_record, table_rows(tables_in(folder), ("question", "answer"), ("image",)))


def simple_record(row: TableRow) -> Record:
    """A closed or open question from a row with the columns question and answer."""
    return make_record(
        row.split,
        row.cells["question"],
        row.cells["answer"],
        row.pictures,
        id=row.labelled("id"),
        answer_type=read_answer_type(row.labelled("answer_type"), row.place),
        organ=row.labelled("organ"),
        modality=row.labelled("modality"),
        location=row.labelled("location"),
        left_out="" if row.pictures else "no image",
        place=row.place,
    )


def _file_rows(table: Table, columns: tuple[str, ...], picture_columns: tuple[str, ...]) -> Iterator[TableRow]:
    path = table.path
    try:
        file = pq.ParquetFile(check_file(path))
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{path} is not a readable parquet file ({error}); download it again") from error
    with file:
        schema = file.schema_arrow
        lacking = [name for name in (*columns, *picture_columns) if name not in schema.names]
        if lacking:
            raise SourceError(f"{path} lacks the columns {', '.join(lacking)}; it has {', '.join(schema.names)}")
        others = [name for name in _OTHERS if name in schema.names and name not in columns]
        # The path inside an image's struct says whether there is one, at no cost.
        probes = [_probe(schema.field(name)) for name in picture_columns]
        first = 0
        for group in range(file.num_row_groups):
            try:
                rows = file.read_row_group(group, columns=[*columns, *others, *probes]).to_pylist()
            except (OSError, pa.ArrowException) as error:
                raise SourceError(f"{path} is damaged in row group {group} ({error}); download it again") from error
            for number, row in enumerate(rows):
                present = [name for name in picture_columns if row[name] is not None]
                pictures = tuple(CellPicture(str(path), group, number, name) for name in present)
                yield TableRow(table.split, row, pictures, f"{path.parent.name}/{path.name}: row {first + number}")
            first += len(rows)


def _probe(field: pa.Field) -> str:
    has_path = pa.types.is_struct(field.type) and field.type.get_field_index("path") >= 0
    return f"{field.name}.path" if has_path else str(field.name)
