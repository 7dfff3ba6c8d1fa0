"""Small sources written to the published layouts, and the real ones where they are at hand."""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from medeyes_verl.data.row import read_rows
from medeyes_verl.doctor.inputs import table

Encode = Callable[..., bytes]


@pytest.fixture
def encode() -> Encode:
    """`encode(seed, kind="JPEG", size=(48, 40))`: the bytes of a picture, the same for the same arguments."""

    def make(seed: int, kind: str = "JPEG", size: tuple[int, int] = (48, 40), mode: str = "RGB") -> bytes:
        values = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(values).resize(size, Image.Resampling.NEAREST).convert(mode).save(buffer, kind)
        return buffer.getvalue()

    return make


@pytest.fixture
def snapshot() -> Callable[..., Path]:
    """`snapshot(folder, {"train-00000-of-00001": rows})`: parquet files with pictures as the hub writes them."""

    def write(folder: Path, tables: dict[str, list[dict[str, Any]]], pictures: tuple[str, ...] = ("image",)) -> Path:
        for name, rows in tables.items():
            cells = {
                key: [
                    {"bytes": row[key], "path": "p.jpg"} if key in pictures and row[key] is not None else row[key]
                    for row in rows
                ]
                for key in rows[0]
            }
            picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
            columns = {key: pa.array(value, picture if key in pictures else None) for key, value in cells.items()}
            target = folder / "data" / f"{name}.parquet"
            target.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table(columns), target, row_group_size=3)
        return folder

    return write


@pytest.fixture
def run() -> Callable[..., Result]:
    """`run(app, source, output, *options)`: a benchmark's command in this process."""

    def invoke(app: Any, source: Path | str, output: Path, *options: str) -> Result:
        arguments = ["--source", str(source), "--output", str(output), "--workers", "1", *options]
        return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})

    return invoke


@pytest.fixture
def assert_healthy() -> Callable[[Path], None]:
    """`assert_healthy(file)`: what `medeyes-verl doctor --data` looks at is in order."""

    def look(path: Path) -> None:
        assert [finding for finding in table(path) if not finding.passed] == []

    return look


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """`real_data("vqa_rad")`: the folder of the real archive; skips the test where it is absent."""
    root = Path(os.environ.get("MEDEYES_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))

    def find(name: str) -> Path:
        if not (root / name).is_dir():
            pytest.skip(f"no {name} in {root}; set MEDEYES_TEST_DATA to the folder that holds it")
        return root / name

    return find


@pytest.fixture
def rows() -> Callable[[Path], list[dict[str, Any]]]:
    def read(path: Path) -> list[dict[str, Any]]:
        return list(read_rows(path))

    return read


@pytest.fixture
def comparable(rows: Callable[[Path], list[dict[str, Any]]]) -> Callable[..., list[dict[str, Any]]]:
    """`comparable(file, "id", ...)`: rows without these keys of extra_info, pictures by their name in the store."""

    def strip(path: Path, *without: str) -> list[dict[str, Any]]:
        return list(_stripped(rows(path), without))

    return strip


def _stripped(found: list[dict[str, Any]], without: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for row in found:
        row["images"] = [Path(path).name for path in row["images"]]
        row["extra_info"] = {key: value for key, value in row["extra_info"].items() if key not in without}
        yield row
