"""A prepared table with experts' ids."""

import io
from pathlib import Path

import pytest
from PIL import Image

from medeyes_verl.data.image_store import ImageStore
from medeyes_verl.data.row import Row, write_rows


@pytest.fixture(scope="module")
def training_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One training question."""
    folder = tmp_path_factory.mktemp("training_table")
    buffer = io.BytesIO()
    Image.new("RGB", (224, 224)).save(buffer, "PNG")
    image = ImageStore(folder).add_bytes(buffer.getvalue(), "made up")
    row = Row("made_up", "train", "q1", "What is it?", "ring", "open", (image,), expert_id="made_up/q1")
    write_rows(folder / "train.parquet", [row])
    return folder / "train.parquet"
