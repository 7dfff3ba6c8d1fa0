"""Prepared files as veRL's own dataset reads them, in all three ways of referring to pictures."""

from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from PIL import Image

from medeyes_verl.data.readers.path_vqa import app
from medeyes_verl.data.row import read_rows
from medeyes_verl.gaze.crop import open_picture


@pytest.fixture
def prepared(tmp_path, run, snapshot, encode):
    cells = [{"image": encode(number), "question": f"Question {number}?", "answer": "yes"} for number in range(4)]
    source = snapshot(tmp_path / "hub", {"train": cells})

    def prepare(*options):
        assert run(app, source, tmp_path / "out", *options).exit_code == 0
        return tmp_path / "out"

    return prepare


def raw_prompts(dataset_class, folder, tmp_path, **settings):
    config = OmegaConf.create(
        {"filter_overlong_prompts": False, "cache_dir": str(tmp_path / "cache"), "medeyes": settings}
    )
    processor = SimpleNamespace(image_processor=SimpleNamespace(patch_size=14))
    dataset = dataset_class([str(folder / "train.parquet")], tokenizer=None, config=config, processor=processor)
    return [dataset[number]["raw_prompt"][0]["content"] for number in range(len(dataset))]


@pytest.mark.parametrize("options", [(), ("--embed-images",)])
def test_stock_dataset_reads_paths_and_bytes(prepared, tmp_path, options) -> None:
    from verl.utils.dataset.rl_dataset import RLHFDataset

    prompts = raw_prompts(RLHFDataset, prepared(*options), tmp_path)
    assert [content[1] for content in prompts] == [
        {"type": "text", "text": f"Question {number}?"} for number in range(4)
    ]
    for content in prompts:
        image = content[0]["image"]
        picture = image if isinstance(image, Image.Image) else open_picture(image)
        assert picture.size == (48, 40)


def test_our_dataset_joins_the_root_of_a_moved_folder(prepared, tmp_path) -> None:
    from medeyes_verl.plugin.dataset import MedEyesDataset

    folder = prepared("--relative").rename(tmp_path / "moved")
    for content in raw_prompts(MedEyesDataset, folder, tmp_path, image_root=str(folder)):
        assert open_picture(content[0]["image"]).size == (48, 40)


def test_embedded_pictures_are_unpacked_for_whoever_needs_their_paths(prepared, tmp_path) -> None:
    """Experts, evaluation and report read rows this way; the copies are the pictures that were put in."""
    folder = prepared("--embed-images")
    assert not (folder / "images").exists()
    paths = [path for row in read_rows(folder / "train.parquet") for path in row["images"]]
    assert [open_picture(path).size for path in paths] == [(48, 40)] * 4
    embedded = pq.read_table(folder / "train.parquet")["images"].to_pylist()
    assert [Path(path).read_bytes() for path in paths] == [cell["bytes"] for (cell,) in embedded]
    assert [row["images"] for row in read_rows(folder / "train.parquet")] == [[path] for path in paths]
