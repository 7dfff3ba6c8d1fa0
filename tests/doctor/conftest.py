"""A small phantom table with experts, and ways to damage it."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medeyes_verl.data.phantom import PhantomSettings, make_phantom_row
from medeyes_verl.data.row import write_rows
from medeyes_verl.doctor.check import Finding
from medeyes_verl.expert.scripted import script_preset, write_scripted_experts

Rows = list[dict[str, Any]]


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Four training rows and two experts of each, in the tiny policy's frame, and a validation row."""
    path = tmp_path / "train.parquet"
    write_rows(tmp_path / "val.parquet", [make_phantom_row(PhantomSettings(), "val", 0, tmp_path)])
    write_rows(path, (make_phantom_row(PhantomSettings(), "train", i, tmp_path) for i in range(4)))
    write_scripted_experts(path, tmp_path / "experts", n=2, settings=script_preset("tiny"))
    return path


@pytest.fixture
def damage(prepared: Path) -> Callable[[Callable[[Rows], object]], Path]:
    """Write the table again after a function has changed its rows; column types follow the values."""

    def write(change: Callable[[Rows], object]) -> Path:
        rows = pq.read_table(prepared).to_pylist()
        change(rows)
        pq.write_table(pa.Table.from_pylist(rows), prepared)
        return prepared

    return write


@pytest.fixture
def failed() -> Callable[[Iterable[Finding]], list[Finding]]:
    """The findings that failed; each of them says how to fix it."""

    def only(findings: Iterable[Finding]) -> list[Finding]:
        found = [finding for finding in findings if not finding.passed]
        assert all(finding.remedy for finding in found)
        return found

    return only


@pytest.fixture(scope="session")
def processor_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A processor with a small tokenizer, made on the spot."""
    from medeyes_verl.tiny.model import build_processor
    from medeyes_verl.tiny.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("processor")
    build_processor(train_tokenizer(["I look closer at the upper part of the image."] * 3)).save_pretrained(folder)
    return folder
