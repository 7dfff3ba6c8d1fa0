"""Our dataset class on tables of others: completed rows, images in every form, refusal when it is made."""

from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from PIL import Image

from medeyes_verl.plugin.dataset import MedEyesDataset, TableRefusedError


def png(colour: str) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (40, 30), colour).save(buffer, "PNG")
    return buffer.getvalue()


def row(image: Any, **others: Any) -> dict[str, Any]:
    prompt = [{"role": "user", "content": "<image>Which?\nA. left\nB. right"}]
    return {
        "data_source": "x",
        "prompt": prompt,
        "images": [image],
        "reward_model": {"style": "rule", "ground_truth": "B"},
        **others,
    }


def made(folder: Path, *tables: Path, root: Path | None = None) -> MedEyesDataset:
    config = {"image_key": "images", "filter_overlong_prompts": False, "cache_dir": str(folder / "cache")}
    config["medeyes"] = {"image_root": None if root is None else str(root)}
    return MedEyesDataset([str(table) for table in tables], None, OmegaConf.create(config), processor="any")


def written(path: Path, *rows: dict[str, Any], decoded: bool = False) -> Path:
    if decoded:  # as veRL's geometry3k: the file itself says that the cells are images
        table = datasets.Dataset.from_list(list(rows))
        table.cast_column("images", datasets.Sequence(datasets.Image())).to_parquet(path)
    else:
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def image_of(example: dict[str, Any]) -> Any:
    return example["raw_prompt"][0]["content"][0]["image"]


@pytest.mark.parametrize("decoded", [True, False])
def test_embedded_images_of_a_foreign_table(tmp_path: Path, decoded: bool) -> None:
    rows = [row({"bytes": png(colour), "path": None}) for colour in ("red", "blue")]
    dataset = made(tmp_path, written(tmp_path / "t.parquet", *rows, decoded=decoded))
    examples = [dataset[i] for i in range(2)]
    assert [image_of(each).convert("RGB").getpixel((0, 0)) for each in examples] == [(255, 0, 0), (0, 0, 255)]
    assert [each["extra_info"]["id"] for each in examples] == ["row-0", "row-1"]
    assert examples[0]["extra_info"]["question_type"] == "multiple_choice"
    assert examples[0]["extra_info"]["options"] == ["left", "right"]
    assert examples[0]["reward_model"]["ground_truth"] == "B"


def test_paths_plain_and_in_structs_are_joined_to_the_root(tmp_path: Path) -> None:
    plain = made(tmp_path, written(tmp_path / "a.parquet", row("a.png", extra_info={"index": 4})), root=tmp_path)
    assert image_of(plain[0]) == str(tmp_path / "a.png")
    assert plain[0]["extra_info"]["id"] == "4"
    struct = row({"bytes": None, "path": "a.png"}, extra_info={"index": 4})
    assert image_of(made(tmp_path, written(tmp_path / "b.parquet", struct))[0]) == "a.png"


def test_names_stay_apart_where_indices_repeat(tmp_path: Path) -> None:
    tables = [written(tmp_path / f"{name}.parquet", row("a.png", extra_info={"index": 0})) for name in "ab"]
    dataset = made(tmp_path, *tables)
    assert [dataset[i]["extra_info"]["id"] for i in range(2)] == ["row-0", "row-1"]


def test_a_faulty_table_is_refused_when_the_dataset_is_made(tmp_path: Path) -> None:
    faulty = row("a.png") | {"reward_model": {"style": "rule", "ground_truth": None}}
    path = written(tmp_path / "t.parquet", row("a.png"), faulty)
    with pytest.raises(TableRefusedError, match=r"t\.parquet: reward_model\.ground_truth: 1 of 2 rows .*row 1"):
        made(tmp_path, path)
