"""The row: what may be built, what it looks like to veRL, and that it survives the file."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medeyes_verl.data.image_store import StoredPicture
from medeyes_verl.data.row import ROW_SCHEMA, Region, Row, read_rows, write_rows
from medeyes_verl.gaze.geometry import Box, Size

PICTURE = StoredPicture("/data/images/ab/abc.jpg", Size(640, 480))
OPEN = Row("phantom", "train", "q1", "What is the lesion?", "ring", "open", (PICTURE,), expert_id="q1")
CHOICE = replace(OPEN, question_type="multiple_choice", options=("ring", "bar"), answer="B")


def test_prompt_holds_placeholders_question_and_options_and_no_system_message() -> None:
    row = replace(CHOICE, pictures=(PICTURE, PICTURE)).as_dict(3)
    assert row["prompt"] == [
        {"role": "user", "content": "<image><image>What is the lesion?\nA. ring\nB. bar"},
    ]
    assert row["images"] == [PICTURE.path] * 2
    assert row["extra_info"]["image_sizes"] == [{"width": 640, "height": 480}] * 2
    assert row["extra_info"]["index"] == 3
    assert row["reward_model"] == {"style": "rule", "ground_truth": "B"}


@given(st.text(alphabet="<>imagevdo 1", min_size=1).filter(str.strip), st.integers(1, 3))
def test_a_question_can_never_add_a_placeholder(question: str, pictures: int) -> None:
    content = replace(OPEN, question=question + "<image><video><audio>", pictures=(PICTURE,) * pictures).prompt_text
    assert content.count("<image>") == pictures
    assert "<video>" not in content
    assert "<audio>" not in content


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "dev"}, "unknown split 'dev'"),
        ({"question_type": "yes/no"}, "unknown question type"),
        ({"question": " "}, "must not be empty"),
        ({"answer": ""}, "must not be empty"),
        ({"pictures": ()}, "no picture"),
        ({"split": "test"}, "only training rows"),
        ({"options": ("a", "b")}, "has no options"),
        ({"question_type": "multiple_choice", "options": ("a",), "answer": "A"}, "needs 2 to 26 options"),
        ({"question_type": "multiple_choice", "options": ("a", "b"), "answer": "C"}, "is no letter of"),
        ({"question_type": "multiple_choice", "options": ("a", "b"), "answer": "AB"}, "is no letter of"),
    ],
)
def test_a_row_that_cannot_be_is_refused_by_name(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        replace(OPEN, **changes)  # type: ignore[arg-type]
    assert "'q1'" in str(caught.value)


def test_rows_survive_the_file(tmp_path: Path) -> None:
    full = replace(OPEN, organ="CHEST", modality="CT", location="lung", answer_type="OPEN")
    full = replace(full, regions=(Region(Box(1, 2, 3.5, 4), "lesion", True),))
    rows = [OPEN, full, CHOICE] * 700  # more than one row group
    path = tmp_path / "deep" / "train.parquet"
    assert write_rows(path, iter(rows)) == len(rows)
    assert list(read_rows(path)) == [row.as_dict(index) for index, row in enumerate(rows)]
    assert pq.read_schema(path).equals(ROW_SCHEMA)
    assert [entry.name for entry in path.parent.iterdir()] == ["train.parquet"]


def test_a_failed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    write_rows(path, [OPEN])

    def failing():  # type: ignore[no-untyped-def]
        yield CHOICE
        raise RuntimeError("source broke")

    with pytest.raises(RuntimeError, match="source broke"):
        write_rows(path, failing())
    assert [row["reward_model"]["ground_truth"] for row in read_rows(path)] == ["ring"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["train.parquet"]


def test_foreign_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"not parquet")
    with pytest.raises(ValueError, match=r"a\.parquet is not a readable parquet file"):
        list(read_rows(tmp_path / "a.parquet"))
    pq.write_table(pa.table({"prompt": ["hello"]}), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"b\.parquet lacks the columns data_source, images"):
        list(read_rows(tmp_path / "b.parquet"))
