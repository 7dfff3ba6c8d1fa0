"""The same files from Ray Data as from processes."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from medeyes_verl.data import parts
from medeyes_verl.data.image_source import FilePicture
from medeyes_verl.data.prepare import PrepareSettings, prepare
from medeyes_verl.data.record import make_record
from medeyes_verl.data.row import read_rows
from medeyes_verl.distribution.engine import ray_engine


@pytest.fixture
def cluster():
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    yield
    ray.shutdown()


@pytest.mark.ray
def test_ray_writes_what_processes_write(cluster, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(parts, "RECORDS_A_PART", 4)
    for number in range(10):
        values = np.random.default_rng(number).integers(0, 255, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / f"{number}.png")

    def records():
        for number in range(10):
            split = "test" if number > 7 else "train"
            yield make_record(split, f"What is {number}?", "a cyst", (FilePicture(str(tmp_path / f"{number}.png")),))

    for engine in ("local", "ray"):
        settings = PrepareSettings(tmp_path / engine, engine=engine, images="relative")
        summary = prepare("fake", "here", records, settings, Console(file=io.StringIO()))
        assert (summary.parts, summary.rows) == (3, 10)
    for name in ("train.parquet", "test.parquet"):
        one, other = (list(read_rows(Path(tmp_path / engine / name))) for engine in ("local", "ray"))
        assert one == other


@pytest.mark.ray
def test_an_error_keeps_its_kind(cluster) -> None:
    with pytest.raises(ValueError, match="factorial"):
        list(ray_engine()(math.factorial, [1, -1]))
