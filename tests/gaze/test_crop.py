"""Pictures: the fitted size against transformers, crops against slices of the original, reading odd files."""

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import Image

from medeyes_verl.gaze.crop import PixelBounds, crop_of, fitted_size, open_picture, view_of
from medeyes_verl.gaze.geometry import Box, Size

TINY = PixelBounds(56 * 56, 112 * 112)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("size", "bounds", "fitted"),
    [
        (Size(448, 448), TINY, Size(112, 112)),
        (Size(112, 112), TINY, Size(112, 112)),
        (Size(28, 28), TINY, Size(56, 56)),
        (Size(8, 80), TINY, Size(28, 196)),
        (Size(1000, 500), PixelBounds(56 * 56, 336 * 336), Size(448, 224)),
        (Size(100, 100), PixelBounds(1, 10**9), Size(112, 112)),
        (Size(100, 100), PixelBounds(1, 10**9, multiple=32), Size(96, 96)),
        (Size(1, 200), PixelBounds(56 * 56, 336 * 336), Size(28, 812)),
    ],
)
def test_fitted_size(size: Size, bounds: PixelBounds, fitted: Size) -> None:
    assert fitted_size(size, bounds) == fitted


sides = st.integers(1, 9000)


@pytest.fixture(scope="module")
def smart_resize() -> Callable[..., tuple[int, int]]:
    """The original, imported once: it brings torch and torchvision with it."""
    module = importlib.import_module("transformers.models.qwen2_vl.image_processing_qwen2_vl")
    return module.smart_resize


@given(
    width=sides,
    height=sides,
    low=st.integers(1, 10**6),
    high=st.integers(1, 10**7),
    multiple=st.sampled_from([28, 32, 14]),
)
@example(width=448, height=448, low=3136, high=12544, multiple=28)
@example(width=300, height=300, low=3136, high=12544, multiple=28)
@example(width=1, height=200, low=3136, high=3136, multiple=28)
def test_fitted_size_is_the_processors_own(
    smart_resize: Callable[..., tuple[int, int]], width: int, height: int, low: int, high: int, multiple: int
) -> None:
    assume(low <= high)
    bounds = PixelBounds(low, high, multiple)
    if max(width, height) / min(width, height) > 200:
        with pytest.raises(ValueError, match="200 times"):
            fitted_size(Size(width, height), bounds)
    else:
        theirs = smart_resize(height, width, multiple, min_pixels=low, max_pixels=high)
        assert fitted_size(Size(width, height), bounds) == (theirs[1], theirs[0])


@pytest.mark.parametrize("bounds", [(0, 10), (20, 10), (1, 10, 0), (-5, 10)])
def test_senseless_bounds_are_refused(bounds: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"(min_pixels|max_pixels|multiple)=.*: use"):
        PixelBounds(*bounds)


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        (Box(56, 112, 168, 224), slice(112, 224), slice(56, 168)),
        (Box(0, 0, 112, 112), slice(0, 112), slice(0, 112)),
        (Box(336, 336, 448, 448), slice(336, 448), slice(336, 448)),
        # Edges go to the nearest whole pixel.
        (Box(55.6, 112.4, 168.4, 223.6), slice(112, 224), slice(56, 168)),
        # 84×56 has the right multiples and enough pixels as well.
        (Box(10, 20, 94, 76), slice(20, 76), slice(10, 94)),
    ],
)
def test_a_crop_of_the_fitted_size_is_the_slice_itself(box: Box, rows: slice, columns: slice) -> None:
    original = noise(448, 448)
    crop = crop_of(original, box, TINY)
    assert crop.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(crop), np.asarray(original)[rows, columns])


def test_another_crop_is_the_slice_resized() -> None:
    original = noise(640, 480)
    crop = crop_of(original, Box(100, 50, 300, 250), TINY)
    assert crop.size == (112, 112)
    slice_ = Image.fromarray(np.asarray(original)[50:250, 100:300])
    np.testing.assert_array_equal(np.asarray(crop), np.asarray(slice_.resize((112, 112), Image.Resampling.BICUBIC)))


def test_a_view_is_the_whole_picture_resized_and_rgb() -> None:
    view = view_of(noise(448, 224).convert("L"), TINY)
    assert (view.mode, view.size) == ("RGB", (140, 56))
    small = noise(112, 112)
    np.testing.assert_array_equal(np.asarray(view_of(small, TINY)), np.asarray(small))


@given(st.integers(28, 400), st.integers(28, 400), st.data())
def test_every_crop_passes_the_processor_unchanged(width: int, height: int, data: st.DataObject) -> None:
    x1, y1 = data.draw(st.floats(0, width - 8)), data.draw(st.floats(0, height - 8))
    box = Box(x1, y1, data.draw(st.floats(x1 + 8, width)), data.draw(st.floats(y1 + 8, height)))
    bounds = PixelBounds(56 * 56, 336 * 336)
    crop = crop_of(Image.new("RGB", (width, height)), box, bounds)
    assert fitted_size(Size(*crop.size), bounds) == crop.size


# --- open_picture


def test_plain_picture_round_trips(tmp_path: Path) -> None:
    noise(30, 20).save(tmp_path / "plain.png")
    np.testing.assert_array_equal(np.asarray(open_picture(tmp_path / "plain.png")), np.asarray(noise(30, 20)))


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90° clockwise
    picture = noise(30, 20)
    picture.save(tmp_path / "turned.png", exif=exif)
    upright = open_picture(tmp_path / "turned.png")
    np.testing.assert_array_equal(np.asarray(upright), np.rot90(np.asarray(picture), -1))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_deep_pixels_are_windowed(tmp_path: Path, dtype: type) -> None:
    values = np.linspace(1000, 3000, 256).reshape(16, 16).astype(dtype)
    Image.fromarray(values).save(tmp_path / "deep.tiff")
    grey = np.asarray(open_picture(tmp_path / "deep.tiff"))
    assert grey.shape == (16, 16, 3)
    np.testing.assert_allclose(grey[..., 0].ravel(), np.arange(256), atol=1)


def test_deep_and_flat_or_not_finite(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 700, np.uint16)).save(tmp_path / "flat.png")
    assert np.asarray(open_picture(tmp_path / "flat.png")).max() == 0
    values = np.array([[0.0, 1.0], [np.nan, np.inf]], np.float32)
    Image.fromarray(values).save(tmp_path / "odd.tiff")
    assert np.asarray(open_picture(tmp_path / "odd.tiff"))[..., 0].tolist() == [[0, 255], [0, 0]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    picture = Image.new(mode, (2, 1), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
    picture.putpixel((1, 0), (40, 40, 40, 255) if mode == "RGBA" else (40, 255))
    picture.save(tmp_path / "glass.png")
    assert np.asarray(open_picture(tmp_path / "glass.png")).tolist() == [[[255] * 3, [40] * 3]]


def test_palette_with_transparency_and_cmyk(tmp_path: Path) -> None:
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([9, 9, 9] * 256)
    palette.save(tmp_path / "palette.png", transparency=0)
    assert np.asarray(open_picture(tmp_path / "palette.png")).tolist() == [[[255] * 3]]
    Image.new("CMYK", (8, 8), (0, 0, 0, 255)).save(tmp_path / "print.jpg")
    picture = open_picture(tmp_path / "print.jpg")
    assert picture.mode == "RGB"
    assert np.asarray(picture).max() < 10


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    noise(200, 200).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    Image.new("L", (1000, 3)).save(tmp_path / "sliver.png")
    Image.new("1", (9000, 9000)).save(tmp_path / "huge.png")
    for name in ("half.png", "text.jpg", "empty.png", "folder.png", "sliver.png", "huge.png", "missing.png"):
        with pytest.raises(ValueError, match=rf"{name}: not usable as a picture"):
            open_picture(tmp_path / name)
