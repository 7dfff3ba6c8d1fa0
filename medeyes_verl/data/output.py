"""From parts to the files a trainer reads: one parquet a split, streamed, so that memory does not grow with
the rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from medeyes_verl.data.atomic import atomic_path
from medeyes_verl.data.audit import SPLITS, IndexedRow
from medeyes_verl.data.row import EXTRA_INFO, ROW_SCHEMA

ImageForm = Literal["absolute", "relative", "embedded"]
"""How rows refer to their pictures: by absolute path, by path from the parquet file's folder, or by their bytes."""
EMBEDDED = pa.list_(pa.struct([("bytes", pa.binary())]))
_IMAGES = ROW_SCHEMA.get_field_index("images")
_EXTRA_INFO = ROW_SCHEMA.get_field_index("extra_info")
_ROWS_AT_ONCE = 256


def split_file(folder: Path, split: str) -> Path:
    return folder / f"{split}.parquet"


def write_splits(
    parts: Iterable[str],
    index: Sequence[IndexedRow],
    folder: Path,
    *,
    root: Path,
    images: ImageForm,
    expert_ids: bool,
) -> Counter[str]:
    """Writes the rows that are not dropped to the splits the index names; returns how many each has.

    A file of a split that has no rows is removed: it would be a former run's.
    """
    schema = ROW_SCHEMA.set(_IMAGES, pa.field("images", EMBEDDED)) if images == "embedded" else ROW_SCHEMA
    present = [split for split in SPLITS if any(row.split == split and not row.dropped for row in index)]
    written: Counter[str] = Counter()
    with ExitStack() as stack:
        writers = {}
        for split in present:
            temporary = stack.enter_context(atomic_path(split_file(folder, split)))
            writers[split] = stack.enter_context(pq.ParquetWriter(temporary, schema, compression="zstd"))
        for rows, table in _aligned(parts, index):
            for split in present:
                chosen = [row.split == split and not row.dropped for row in rows]
                if any(chosen):
                    part = table.filter(pa.array(chosen))
                    names = [row.id for row, here in zip(rows, chosen, strict=True) if here]
                    part = _numbered(part, names, split, written[split], expert_ids and split == "train")
                    writers[split].write_table(_with_images(part, images, root))
                    written[split] += part.num_rows
    for split in set(SPLITS) - set(present):
        split_file(folder, split).unlink(missing_ok=True)
    return written


def _aligned(parts: Iterable[str], index: Sequence[IndexedRow]) -> Iterator[tuple[Sequence[IndexedRow], pa.Table]]:
    """The rows of the parts a few at a time, each time with their entries of the index."""
    start = 0
    for part in parts:
        with pq.ParquetFile(part) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE):
                yield index[start : start + batch.num_rows], pa.Table.from_batches([batch])
                start += batch.num_rows


def _numbered(table: pa.Table, names: Sequence[str], split: str, first: int, with_experts: bool) -> pa.Table:
    """Rows with their final id and split, their place in its file, and the key of their expert trajectories."""
    rows = table.num_rows
    keys: pa.Array = pa.nulls(rows, pa.string())
    if with_experts:
        sources = table.column("data_source").to_pylist()
        keys = pa.array([f"{source}/{name}" for source, name in zip(sources, names, strict=True)], pa.string())
    return with_extra_info(
        table,
        id=pa.array(names, pa.string()),
        index=pa.array(range(first, first + rows), pa.int64()),
        split=pa.array([split] * rows, pa.string()),
        expert_id=keys,
    )


def with_extra_info(table: pa.Table, **columns: pa.Array) -> pa.Table:
    """The table with these fields of `extra_info` replaced."""
    extra = table.column("extra_info").combine_chunks()
    values = [columns.get(field.name, extra.field(field.name)) for field in EXTRA_INFO]
    struct = pa.StructArray.from_arrays(values, fields=list(EXTRA_INFO))
    return table.set_column(_EXTRA_INFO, ROW_SCHEMA.field("extra_info"), struct).replace_schema_metadata(None)


def _with_images(table: pa.Table, form: ImageForm, root: Path) -> pa.Table:
    if form == "absolute":
        return table
    lists = table.column("images").to_pylist()
    if form == "relative":
        values = [[Path(path).relative_to(root).as_posix() for path in paths] for paths in lists]
        return table.set_column(_IMAGES, "images", pa.array(values, ROW_SCHEMA.field("images").type))
    embedded = [[{"bytes": Path(path).read_bytes()} for path in paths] for paths in lists]
    return table.set_column(_IMAGES, "images", pa.array(embedded, EMBEDDED))
