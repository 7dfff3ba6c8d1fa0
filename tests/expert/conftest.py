"""A folder laid out like SLAKE 1.0, small, with the irregularities of the published one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES = {1: "Liver", 2: "Left Lung", 3: "Right Lung", 4: "Lung Cancer"}


@pytest.fixture
def slake(tmp_path: Path) -> Path:
    root = tmp_path / "slake"
    chest, belly, brain = (root / "imgs" / f"xmlab{number}" for number in (1, 2, 3))
    for number, folder in enumerate((chest, belly, brain)):
        folder.mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(0, 255, (400, 500), dtype=np.uint8)
        Image.fromarray(pixels).convert("RGB").save(folder / "source.jpg")
    (root / "mask.txt").write_text("".join(f"{number}:{name}\n" for number, name in CLASSES.items()))
    # A chest: two lungs, the same disease twice, one box that reaches out of the picture.
    boxes = [
        {"Left Lung": [260.0, 50.0, 200.0, 300.0]},
        {"Right Lung": [40.0, 50.0, 200.0, 300.0]},
        {"Nodule": [300.0, 100.0, 40.0, 30.0]},
        {"Nodule": [80.0, 200.0, 30.0, 30.0]},
        {"Effusion": [420.0, 300.0, 200.0, 200.0]},
    ]
    (chest / "detection.json").write_text(json.dumps(boxes))
    # A belly: no boxes, but a mask.
    (belly / "detection.json").write_text("[]")
    mask = np.zeros((400, 500), np.uint8)
    mask[100:200, 50:250] = 1
    indexed = Image.fromarray(mask, "P")
    indexed.putpalette([0, 0, 0, 255, 0, 0] + [0] * 762)
    indexed.save(belly / "mask.png")
    # A brain with everything wrong, and one sound entry among it.
    wrong = [{"Brain Edema": [10, 10, -5, 5]}, {"Mass": ["a", 1, 2, 3]}, ["no"], {"Mass": [900, 900, 5, 5]}]
    (brain / "detection.json").write_text(json.dumps([*wrong, {"Mass": [100, 100, 50, 60]}]))
    Image.fromarray(mask).convert("RGB").save(brain / "mask.png")
    return root
