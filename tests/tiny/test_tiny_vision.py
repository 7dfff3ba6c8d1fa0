"""The batched vision tower gives what transformers' own gives."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from medeyes_verl.tiny.vision import encode_pictures


def test_pictures_of_mixed_sizes_are_encoded_as_transformers_does(fresh) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    sizes = [(112, 112), (56, 140), (112, 112), (140, 56)]
    pictures = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    given = fresh.processor.image_processor([Image.fromarray(p) for p in pictures], return_tensors="pt")
    with torch.no_grad():
        expected = fresh.model.model.visual(given["pixel_values"], grid_thw=given["image_grid_thw"]).pooler_output
        ours = encode_pictures(fresh.model.model.visual, pictures)
    assert [len(features) for features in ours] == [16, 10, 16, 10]
    torch.testing.assert_close(torch.cat(ours), expected, atol=2e-5, rtol=1e-4)
