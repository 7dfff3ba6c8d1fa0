"""The image store: each distinct picture once, kept where it can be, made plain RGB where it must."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medeyes_verl.data.image_store import ImageStore

RNG = np.random.default_rng(0)


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    width, height = size
    return Image.fromarray(RNG.integers(0, 255, (height, width, 3), dtype=np.uint8)).convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def stored_files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize(("mode", "kind"), [("RGB", "JPEG"), ("L", "JPEG"), ("RGB", "PNG"), ("L", "PNG")])
def test_plain_pictures_are_kept_byte_for_byte(tmp_path: Path, mode: str, kind: str) -> None:
    data = encoded(picture(mode), kind)
    stored = ImageStore(tmp_path).add_bytes(data, "a")
    assert Path(stored.path).read_bytes() == data
    assert stored.size == (40, 30)
    assert Path(stored.path).is_absolute()


def test_each_distinct_picture_is_written_once(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    data, other = encoded(picture(), "PNG"), encoded(picture(), "PNG")
    file = tmp_path / "source.png"
    file.write_bytes(data)
    assert store.add_bytes(data, "a") == store.add_bytes(data, "b") == ImageStore(tmp_path).add_file(file)
    assert store.add_bytes(other, "c") != store.add_bytes(data, "a")
    assert len(stored_files(tmp_path / "images")) == 2


def test_a_picture_from_memory_is_named_by_its_pixels(tmp_path: Path) -> None:
    image = picture()
    first = ImageStore(tmp_path / "one").add_image(image)
    second = ImageStore(tmp_path / "two").add_image(image.copy())
    assert Path(first.path).name == Path(second.path).name
    assert np.array_equal(np.asarray(Image.open(first.path)), np.asarray(image))


def test_what_readers_would_have_to_convert_is_stored_as_rgb_png(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    palette = picture().convert("P")
    half_clear = Image.new("RGBA", (40, 30), (0, 0, 0, 0))
    deep = Image.fromarray(np.linspace(1000, 3000, 1200).reshape(30, 40).astype(np.uint16))
    for data in (
        encoded(picture("CMYK"), "JPEG"),
        encoded(palette, "PNG"),
        encoded(half_clear, "PNG"),
        encoded(picture("LA"), "PNG"),
        encoded(deep, "PNG"),
        encoded(picture(), "BMP"),
    ):
        stored = store.add_bytes(data, "odd")
        with Image.open(stored.path) as kept:
            assert (kept.format, kept.mode, kept.size) == ("PNG", "RGB", (40, 30))
        assert store.add_bytes(data, "odd") == stored
    clear = np.asarray(Image.open(store.add_bytes(encoded(half_clear, "PNG"), "clear").path))
    assert clear.min() == 255, "transparency is laid on white"
    window = np.asarray(Image.open(store.add_bytes(encoded(deep, "PNG"), "deep").path))
    assert (window.min(), window.max()) == (0, 255), "16 bits are windowed, not cut"


def test_a_picture_turned_by_exif_is_stored_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = ImageStore(tmp_path).add_bytes(encoded(picture(), "JPEG", exif=exif), "turned")
    assert stored.size == (30, 40)
    assert Image.open(stored.path).size == (30, 40)


@pytest.mark.parametrize("damage", [lambda data: data[:-200], lambda data: b"", lambda data: b"no picture" * 9])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_damaged_picture_is_refused_by_name_and_leaves_nothing(tmp_path: Path, damage: object, kind: str) -> None:
    data = damage(encoded(picture(size=(90, 90)), kind))  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"synpic1\.jpg: not usable as a picture"):
        ImageStore(tmp_path).add_bytes(data, "synpic1.jpg")
    assert stored_files(tmp_path) == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.jpg.*No such file"):
        ImageStore(tmp_path).add_file(tmp_path / "absent.jpg")


def test_a_slice_too_long_for_the_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="longer than 200 times"):
        ImageStore(tmp_path).add_bytes(encoded(picture(size=(402, 2)), "PNG"), "sliver")


def test_a_writer_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        ImageStore(tmp_path).add_image(picture())
    assert stored_files(tmp_path) == []
