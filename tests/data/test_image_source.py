"""Where pictures lie: names that climb out, entries and cells that are damaged or too large, reading in any order."""

import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medeyes_verl.data import image_source
from medeyes_verl.data.image_source import CellPicture, FilePicture, SourceError, ZipPicture, inside
from medeyes_verl.data.places import in_archive, in_folder, place_of


@pytest.mark.parametrize("name", ["a.jpg", "xmlab1/source.jpg", "a..b.jpg", "./a.jpg", "a\\b.jpg", "é ß.png"])
def test_names_inside_stay(name: str) -> None:
    assert inside(name) == str(Path(name.replace("\\", "/")))


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../a", "a/../../b", "..", "C:\\a.jpg", "c:a", "\\\\host\\a", "a\\..\\..\\b"]
)
def test_names_outside_are_refused(name: str) -> None:
    with pytest.raises(SourceError, match="names a picture outside itself"):
        inside(name)


@given(st.text(min_size=1))
def test_no_name_leads_out_of_its_folder(name: str) -> None:
    root = Path("/source/images")
    try:
        picture = in_folder(root)(name)
    except SourceError:
        return
    assert Path(picture.path).is_relative_to(root)
    assert ".." not in Path(picture.path).parts


def test_archives_are_searched_by_the_end_of_the_path(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "imgs.zip", "w") as file:
        file.writestr("Slake1.0/imgs/xmlab1/source.jpg", b"one")
        file.writestr("Slake1.0/imgs/xmlab2/source.jpg", b"two")
    place = place_of(tmp_path, ("imgs",), ("imgs.zip",))
    assert place("xmlab2/source.jpg").read() == b"two"
    assert not place("xmlab3/source.jpg").present()
    (tmp_path / "imgs" / "xmlab2").mkdir(parents=True)
    (tmp_path / "imgs" / "xmlab2" / "source.jpg").write_bytes(b"unpacked")
    assert place_of(tmp_path, ("imgs",), ("imgs.zip",))("xmlab2/source.jpg").read() == b"unpacked"


def test_what_is_too_large_is_not_read(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(image_source, "MAX_PICTURE_BYTES", 10)
    (tmp_path / "a.jpg").write_bytes(b"x" * 11)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.jpg", b"x" * 1_000_000)
    for picture in (FilePicture(str(tmp_path / "a.jpg")), in_archive(tmp_path / "a.zip")("a.jpg")):
        with pytest.raises(ValueError, match=r"a\.jpg: larger than 10 bytes"):
            picture.read()


def test_what_is_absent_is_named(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w"):
        pass
    for picture in (FilePicture(str(tmp_path / "b.jpg")), ZipPicture(str(tmp_path / "a.zip"), "b.jpg")):
        assert not picture.present()
        with pytest.raises(ValueError, match=r"b\.jpg: no such"):
            picture.read()


@pytest.mark.parametrize("structs", [True, False])
@given(order=st.permutations(range(70)))
def test_cells_are_read_in_any_order(structs, order, tmp_path_factory) -> None:
    path = tmp_path_factory.getbasetemp() / f"cells-{structs}.parquet"
    if not path.exists():
        cells = [{"bytes": b"%d" % number, "path": None} if structs else b"%d" % number for number in range(70)]
        pq.write_table(pa.table({"image": cells}), path, row_group_size=40)
    for number in order:
        assert CellPicture(str(path), number // 40, number % 40, "image").read() == b"%d" % number


def test_a_cell_without_bytes_is_named(tmp_path) -> None:
    pq.write_table(pa.table({"image": [{"bytes": None, "path": "a.jpg"}]}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"t\.parquet: row 0 of row group 0, column image: holds no picture bytes"):
        CellPicture(str(tmp_path / "t.parquet"), 0, 0, "image").read()
