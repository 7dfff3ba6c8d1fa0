"""The doctor's eye on tables and models: each mistake is found, named, and told how to mend."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medeyes_verl.data.phantom import PhantomSettings, make_phantom_row
from medeyes_verl.data.row import write_rows
from medeyes_verl.doctor.check import Finding
from medeyes_verl.doctor.inputs import model, table
from medeyes_verl.expert.scripted import write_scripted_experts


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    path = tmp_path / "train.parquet"
    write_rows(path, (make_phantom_row(PhantomSettings(), "train", i, tmp_path) for i in range(3)))
    write_scripted_experts(path, tmp_path / "experts", n=1)
    return path


def sick(findings: Iterator[Finding]) -> list[Finding]:
    found = [finding for finding in findings if not finding.healthy]
    assert all(finding.remedy for finding in found)
    return found


def edited(path: Path, column: str, values: list[object]) -> None:
    """Write the table again with one column replaced."""
    old = pq.read_table(path)
    place = old.column_names.index(column)
    pq.write_table(
        old.set_column(place, old.schema.field(column), pa.array(values, old.schema.field(column).type)), path
    )


def test_a_good_table_is_well(prepared: Path) -> None:
    assert sick(table(prepared)) == []


def test_a_missing_picture_is_named(prepared: Path) -> None:
    gone = Path(pq.read_table(prepared)["images"].to_pylist()[1][0])
    gone.unlink()
    (finding,) = sick(table(prepared))
    assert str(gone) in finding.seen
    assert finding.seen.startswith("1 pictures")


def test_a_row_with_too_many_pictures_is_named(prepared: Path) -> None:
    images = pq.read_table(prepared)["images"].to_pylist()
    edited(prepared, "images", [images[0] * 2, *images[1:]])
    (finding,) = sick(table(prepared))
    assert finding.seen.startswith("1 rows not: row 0")


def test_an_empty_answer_is_named(prepared: Path) -> None:
    edited(prepared, "reward_model", [{"style": "rule", "ground_truth": truth} for truth in ("ring", " ", "bar")])
    (finding,) = sick(table(prepared))
    assert "row 1" in finding.seen


def test_experts_outside_training_rows_are_found(prepared: Path) -> None:
    extra = pq.read_table(prepared)["extra_info"].to_pylist()
    edited(prepared, "extra_info", [{**each, "split": "test"} for each in extra])
    (finding,) = sick(table(prepared))
    assert "experts only in training rows" in finding.subject


def test_experts_that_nobody_made_are_named(prepared: Path) -> None:
    extra = pq.read_table(prepared)["extra_info"].to_pylist()
    edited(prepared, "extra_info", [{**extra[0], "expert_id": "nobody"}, *extra[1:]])
    (finding,) = sick(table(prepared))
    assert "1 questions not: nobody" in finding.seen
    assert "experts script" in finding.remedy


@pytest.mark.parametrize("content", [b"", b"not a parquet file"])
def test_a_damaged_file_is_one_clear_finding(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.parquet"
    path.write_bytes(content)
    (finding,) = sick(table(path))
    assert str(path) in finding.subject


def test_a_folder_without_a_processor_is_one_clear_finding(tmp_path: Path) -> None:
    (finding,) = sick(model(str(tmp_path)))
    assert "vision-language model" in finding.remedy
