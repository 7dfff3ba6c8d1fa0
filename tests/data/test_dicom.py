"""DICOM: windows, inversion and colour by hand; what cannot be a picture."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medeyes_verl.data.image_store import ImageStore

VALUES = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40)


def dicom(values=VALUES, **fields: object) -> bytes:
    pydicom = pytest.importorskip("pydicom", reason="pip install medeyes-verl[dicom]")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.SamplesPerPixel = 3 if values.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * values.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    if values.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = values.tobytes()
    for name, value in fields.items():
        setattr(dataset, name, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def stored(data: bytes, root: Path) -> np.ndarray:
    picture = ImageStore(root).add_bytes(data, "scan.dcm")
    assert Path(picture.path).suffix == ".png"
    with Image.open(picture.path) as image:
        assert (image.mode, image.size) == ("RGB", tuple(picture.size))
        return np.asarray(image)


def test_without_a_window_values_span_the_greys(tmp_path) -> None:
    expected = np.round(255.0 * VALUES / VALUES.max()).astype(np.uint8)
    assert np.array_equal(stored(dicom(), tmp_path)[..., 0], expected)


def test_a_window_in_modality_units_cuts_below_and_above(tmp_path) -> None:
    data = dicom(WindowCenter=[-424, 0], WindowWidth=[201, 9], RescaleSlope=1, RescaleIntercept=-1024)
    grey = stored(data, tmp_path)[..., 0].ravel()
    assert (grey[:499] == 0).all(), "below −524.5"
    assert (grey[701:] == 255).all(), "above −324.5"
    assert abs(int(grey[600]) - 128) <= 1


def test_monochrome1_is_inverted(tmp_path) -> None:
    plain = stored(dicom(), tmp_path)
    inverted = stored(dicom(PhotometricInterpretation="MONOCHROME1"), tmp_path)
    assert np.abs(plain.astype(int) + inverted - 255).max() <= 1


def test_colour_stays(tmp_path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    assert np.array_equal(stored(dicom(values), tmp_path), values)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"NumberOfFrames": 3}, "3 frames"),
        ({"Rows": 60000, "Columns": 60000}, "more than 64000000 pixels"),
        ({"PixelData": b"short"}, "not usable as a DICOM image"),
    ],
)
def test_what_cannot_be_a_picture_is_refused_by_name(tmp_path, fields, message) -> None:
    with pytest.raises(ValueError, match=rf"scan\.dcm: not usable as a picture: .*{message}"):
        ImageStore(tmp_path).add_bytes(dicom(**fields), "scan.dcm")


def test_without_pydicom_the_remedy_is_named(tmp_path, monkeypatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("medeyes_verl.data.dicom.import_module", absent)
    with pytest.raises(ValueError, match=r"scan\.dcm.*pip install medeyes-verl\[dicom\]"):
        ImageStore(tmp_path).add_bytes(b"\0" * 128 + b"DICM" + b"\0" * 40, "scan.dcm")
