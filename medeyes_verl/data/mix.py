"""Several benchmarks in one training file, in chosen shares and shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from medeyes_verl.data.atomic import atomic_path
from medeyes_verl.data.image_source import SourceError
from medeyes_verl.data.output import with_extra_info
from medeyes_verl.data.row import ROW_SCHEMA, ROWS_A_GROUP

PROPORTIONAL = "proportional"
BALANCED = "balanced"
_IMAGES = ROW_SCHEMA.get_field_index("images")


@dataclass(frozen=True, slots=True)
class Share:
    """What one file gives to the mixture: `taken` of its `rows`; more than all means that rows repeat."""

    path: Path
    rows: int
    taken: int


def shares(sizes: Sequence[int], weights: str, total: int | None) -> list[int]:
    """How many rows each of the files gives.

    Args:
        sizes: rows of each file.
        weights: "proportional" (to the sizes), "balanced" (the same of each), or numbers as "3,1,1".
        total: rows of the mixture; None for as many as the weights allow without a repetition.

    Raises SourceError for weights that are none of these.
    """
    if weights == PROPORTIONAL:
        parts = np.asarray(sizes, dtype=float)
    elif weights == BALANCED:
        parts = np.ones(len(sizes))
    else:
        try:
            parts = np.asarray([float(word) for word in weights.split(",")])
        except ValueError as error:
            raise SourceError(f"weights {weights!r}: {PROPORTIONAL}, {BALANCED} or numbers as 3,1,1") from error
        if len(parts) != len(sizes) or not np.isfinite(parts).all() or (parts <= 0).any():
            raise SourceError(f"weights {weights!r}: one positive number for each of the {len(sizes)} files is needed")
    parts = parts / parts.sum()
    if total is None:
        total = int((np.asarray(sizes) / parts).min() + 1e-6)
    exact = parts * total
    counts = np.floor(exact + 1e-9).astype(int)
    # What rounding down left over goes to the largest remainders, the first of equals.
    for number in np.argsort(counts - exact, kind="stable")[: total - counts.sum()]:
        counts[number] += 1
    return counts.tolist()


def mix(paths: Sequence[Path], target: Path, *, weights: str, total: int | None, seed: int) -> list[Share]:
    """Writes the mixture to `target` and says what each file gave.

    A file that has to give more than it has is passed over several times, each time in another order. Relative paths
    of pictures become absolute. Raises SourceError for files that are no rows, that differ in their split, or that
    hold their pictures themselves.
    """
    tables = [_read(path) for path in paths]
    splits = {
        split for table in tables for split in table.column("extra_info").combine_chunks().field("split").unique()
    }
    if len(splits) > 1:
        raise SourceError(f"the files are of the splits {', '.join(sorted(map(str, splits)))}; mix files of one split")
    counts = shares([table.num_rows for table in tables], weights, total)
    rng = np.random.default_rng(seed)
    starts = np.cumsum([0, *(table.num_rows for table in tables[:-1])])
    chosen = [
        _sample(table.num_rows, count, rng) + start for table, count, start in zip(tables, counts, starts, strict=True)
    ]
    order = rng.permutation(np.concatenate(chosen))
    everything = pa.concat_tables(tables)
    with atomic_path(target) as temporary, pq.ParquetWriter(temporary, ROW_SCHEMA, compression="zstd") as writer:
        for start in range(0, len(order), ROWS_A_GROUP):
            part = everything.take(order[start : start + ROWS_A_GROUP])
            writer.write_table(with_extra_info(part, index=pa.array(range(start, start + part.num_rows), pa.int64())))
    return [Share(path, table.num_rows, count) for path, table, count in zip(paths, tables, counts, strict=True)]


def _sample(rows: int, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    passes = [rng.permutation(rows) for _ in range(-(-count // rows))]
    return np.concatenate([*passes, np.empty(0, dtype=np.int64)])[:count]


def _read(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise SourceError(f"{path} is not a readable parquet file ({error})") from error
    if not table.schema.equals(ROW_SCHEMA):
        raise SourceError(
            f"{path} does not have the columns of a prepared benchmark with pictures on disk; "
            "prepare it with medeyes-verl prepare and without --embed-images"
        )
    if not table.num_rows:
        raise SourceError(f"{path} has no rows")
    folder = path.resolve().parent
    images = [[str(folder / image) for image in images] for images in table.column("images").to_pylist()]
    return table.set_column(_IMAGES, ROW_SCHEMA.field("images"), pa.array(images, ROW_SCHEMA.field("images").type))
