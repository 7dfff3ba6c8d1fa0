"""DICOM images as pictures a model can see: windowed to 8 bits, upright in grey, RGB.

Needs pydicom (`pip install medeyes-verl[dicom]`), which no benchmark here does; archives of one's own may. A compressed
transfer syntax needs the decoder that pydicom names.
"""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from medeyes_verl.gaze.crop import MAX_PICTURE_PIXELS

_PREAMBLE = 128
_MAGIC = b"DICM"
_INVERTED = "MONOCHROME1"


def is_dicom(data: bytes) -> bool:
    return data[_PREAMBLE : _PREAMBLE + len(_MAGIC)] == _MAGIC


def dicom_as_png(data: bytes) -> bytes:
    """The single frame of a DICOM file as an encoded PNG.

    Grey values are brought to their modality's units and then windowed: by the file's window or look-up table, or from
    their lowest to their highest value where it has neither. Raises ValueError when pydicom is absent, when the file is
    damaged, has no pixels, several frames, or more than `MAX_PICTURE_PIXELS`.
    """
    try:
        pydicom, pixels = import_module("pydicom"), import_module("pydicom.pixels")
    except ImportError as error:
        raise ValueError("a DICOM file needs pydicom: pip install medeyes-verl[dicom]") from error
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
        if int(dataset.Rows) * int(dataset.Columns) > MAX_PICTURE_PIXELS:
            raise ValueError(f"more than {MAX_PICTURE_PIXELS} pixels")
        if int(dataset.get("NumberOfFrames", 1)) != 1:
            raise ValueError(f"{dataset.NumberOfFrames} frames; write the one that is meant to a file of its own")
        if dataset.SamplesPerPixel == 3:
            values = pixels.convert_color_space(
                dataset.pixel_array, dataset.PhotometricInterpretation, "RGB", per_frame=True
            )
        else:
            values = _windowed(dataset, pixels)
    except Exception as error:  # pydicom and its decoders raise many kinds of exception on damaged files
        raise ValueError(f"not usable as a DICOM image: {error}") from error
    buffer = io.BytesIO()
    Image.fromarray(values).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def _windowed(dataset: Any, pixels: Any) -> npt.NDArray[np.uint8]:
    """Grey values to 0..255; the linear window is that of DICOM PS3.3 C.11.2.1.2."""
    values = pixels.apply_modality_lut(dataset.pixel_array, dataset).astype(np.float64)
    if "WindowCenter" in dataset and "WindowWidth" in dataset:
        center, width = (float(np.atleast_1d(dataset[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
        low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
    else:
        if "VOILUTSequence" in dataset:
            values = pixels.apply_voi_lut(values.astype(np.int64), dataset).astype(np.float64)
        low, high = values.min(), values.max()
    scaled = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    if dataset.PhotometricInterpretation == _INVERTED:
        scaled = 1 - scaled
    return np.round(255 * scaled).astype(np.uint8)
