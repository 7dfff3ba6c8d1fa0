"""Near-copies: found when saved anew, resized or brightened; other pictures are not."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from medeyes_verl.data.near import difference_hash, near_copies


def scene(seed: int) -> Image.Image:
    """Soft blobs: unlike noise, it survives resizing, as a radiograph does."""
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 9), dtype=np.uint8)
    return Image.fromarray(coarse).resize((300, 280), Image.Resampling.BICUBIC).convert("RGB")


def hashed(image: Image.Image, folder: Path, kind: str = "PNG", **options: int):
    path = folder / f"picture.{kind.lower()}"
    image.save(path, kind, **options)
    return difference_hash(str(path))


@pytest.mark.parametrize("change", ["jpeg", "half", "brighter", "grey"])
def test_a_copy_is_found_and_another_picture_is_not(tmp_path: Path, change: str) -> None:
    image, kind, options = scene(1), "PNG", {}
    if change == "jpeg":
        kind, options = "JPEG", {"quality": 50}
    elif change == "half":
        image = image.resize((150, 140))
    elif change == "brighter":
        image = ImageEnhance.Brightness(image).enhance(1.1)
    else:
        image = image.convert("L")
    train = {"copy": hashed(image, tmp_path, kind, **options), "other": hashed(scene(2), tmp_path)}
    found = near_copies(train, {"test": hashed(scene(1), tmp_path)})
    assert [(copy.earlier, copy.later) for copy in found] == [("copy", "test")]


def test_pairs_equal_a_plain_double_loop() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2**63, (40, 4), dtype=np.uint64)
    flips = np.array([[np.uint64(1) << np.uint64(bit) if bit < used else 0 for bit in range(4)] for used in range(5)])
    train = {f"a{number}": words for number, words in enumerate(base)}
    test = {f"b{number}": words ^ flips[number % 5].astype(np.uint64) for number, words in enumerate(base)}
    expected = {
        (a, b, bits)
        for a, first in train.items()
        for b, second in test.items()
        if (bits := sum(int(x ^ y).bit_count() for x, y in zip(first, second, strict=True))) <= 3
    }
    found = near_copies(train, test, max_bits=3)
    assert {tuple(copy) for copy in found} == expected
    assert [copy.bits for copy in found] == sorted(copy.bits for copy in found)
    assert near_copies({}, test) == near_copies(train, {}) == []


def test_the_same_picture_is_no_near_copy_of_itself() -> None:
    words = np.arange(4, dtype=np.uint64)
    assert near_copies({"p": words}, {"p": words}) == []


def test_a_picture_smaller_than_the_hash_has_one(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("L", (2, 2)).save(buffer, "PNG")
    (tmp_path / "tiny.png").write_bytes(buffer.getvalue())
    assert difference_hash(str(tmp_path / "tiny.png")).shape == (4,)
