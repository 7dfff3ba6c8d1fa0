"""Phantom pictures: what a lesion *is* can be seen only by looking closer.

A phantom is a square grey picture with soft "organs", noise and a few bright round blobs. One blob is the
lesion: a fine zero-mean texture lies over it, and the texture is its class. The others are decoys, bright and
smooth. The texture's period is about as long as the step from the original to the view (four pixels), where
the bicubic filter's response is nearly zero: in the view every blob is a plain bright spot, in a crop of the
original the texture stands out. So a policy must gaze to answer, and must gaze at the right blob.

    response of PIL's BICUBIC to stripes, by period in original pixels (1 = unchanged)
    period          3.0    3.4    3.8    4.2    4.4    4.8    6.0
    view (÷4)     0.005  0.004  0.003  0.012  0.023  0.058  0.25
    half-way (÷2)  0.25   0.39   0.52   0.62   0.67   0.74   0.87

Pictures depend on (settings, random generator) only; nothing here knows of questions, rows or files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

ORIGINAL_SIDE: Final = 448
"""Pixels a side of a phantom as it is stored."""
VIEW_SIDE: Final = 112
"""Pixels a side of the view for which the textures are made invisible (a quarter of the original)."""

Pixels = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How hard a phantom is. Lengths are pixels of the original, brightness is grey levels (0–255)."""

    candidates: tuple[int, int]
    """Fewest and most bright blobs in a picture: one lesion, the others decoys."""
    texture: float
    """Amplitude of the class texture: what a well-placed crop has to show against the noise."""
    noise: float
    """Standard deviation of the pixel noise."""
    period: tuple[float, float]
    """Period of the texture. The shorter, the closer one must zoom: see the table above."""
    radius: tuple[float, float]
    """Radius of a blob. The smaller, the better one must aim."""
    lesion_brightness: tuple[float, float]
    """Brightness of the lesion over its surroundings."""
    decoy_brightness: tuple[float, float]
    """Brightness of a decoy. Where the ranges differ, "try the brighter blob first" is there to be learnt."""
    graded: bool = False
    """Whether the blobs of a picture differ clearly in size, each of its own part of the range: an order to look in."""


DIFFICULTIES: Final[dict[str, Difficulty]] = {
    # One blob and a loud texture: where a policy trained from nothing starts (see medeyes_verl/tiny).
    "primer": Difficulty((1, 1), 45.0, 30.0, (3.8, 4.4), (28.0, 40.0), (26.0, 38.0), (18.0, 30.0)),
    "easy": Difficulty((2, 2), 28.0, 30.0, (3.8, 4.4), (28.0, 40.0), (26.0, 38.0), (18.0, 30.0)),
    # As many blobs as there are gazes, a large, a middling and a small one, all equally bright, a loud texture: nothing
    # but looking at one after the other tells the lesion, and then it is easy to name. What the ablations are run on.
    "search": Difficulty((3, 3), 40.0, 30.0, (3.8, 4.4), (22.0, 42.0), (26.0, 38.0), (26.0, 38.0), graded=True),
    "medium": Difficulty((2, 3), 24.0, 32.0, (3.4, 4.0), (24.0, 36.0), (24.0, 36.0), (20.0, 32.0)),
    "hard": Difficulty((3, 4), 20.0, 36.0, (2.9, 3.3), (20.0, 30.0), (22.0, 34.0), (22.0, 34.0)),
}


@dataclass(frozen=True, slots=True)
class Blob:
    """A bright disc; centre and radius in pixels of the original. `label` is its class, or "decoy"."""

    x: float
    y: float
    radius: float
    label: str

    @property
    def is_lesion(self) -> bool:
        return self.label != DECOY

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2 of the tightest box around the blob."""
        return self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius


DECOY: Final = "decoy"

# A texture is a function of the offsets from the blob's centre, the angular frequency and two random phases;
# all have mean 0 and variance ½, so no class is brighter or louder than another.
_TEXTURES: Final[dict[str, Callable[[Pixels, Pixels, float, Pixels], Pixels]]] = {
    "ring": lambda x, y, w, phase: np.cos(w * np.hypot(x, y) + phase[0]),
    "bar": lambda x, y, w, phase: np.cos(w * x + phase[0]),
    "band": lambda x, y, w, phase: np.cos(w * y + phase[0]),
    "grid": lambda x, y, w, phase: np.float32(2**0.5) * np.cos(w * x + phase[0]) * np.cos(w * y + phase[1]),
}
CLASSES: Final = tuple(_TEXTURES)
"""Concentric rings, upright bars, level bands, a checked grid."""


@dataclass(frozen=True, slots=True)
class Phantom:
    """`pixels`: uint8, (ORIGINAL_SIDE, ORIGINAL_SIDE). `blobs`: the lesion first, then the decoys."""

    pixels: NDArray[np.uint8]
    blobs: tuple[Blob, ...]

    @property
    def lesion(self) -> Blob:
        return self.blobs[0]


def draw_phantom(difficulty: Difficulty, rng: np.random.Generator) -> Phantom:
    """Draw one phantom; the lesion's class is uniform over CLASSES and independent of everything else."""
    label = CLASSES[rng.integers(len(CLASSES))]
    count = int(rng.integers(difficulty.candidates[0], difficulty.candidates[1] + 1))
    blobs = _place(difficulty, rng, [label] + [DECOY] * (count - 1))
    scene = np.kron(_background(rng), np.ones((4, 4), np.float32))
    for blob in blobs:
        _add_blob(scene, blob, difficulty, rng)
    scene += difficulty.noise * rng.standard_normal(scene.shape, dtype=np.float32)
    return Phantom(np.clip(np.rint(scene), 0, 255).astype(np.uint8), blobs)


def _background(rng: np.random.Generator) -> Pixels:
    """A body and two organs as soft-edged ellipses, drawn at a quarter of the size: they have no detail."""
    axis = (np.arange(ORIGINAL_SIDE // 4, dtype=np.float32) + 0.5) / (ORIGINAL_SIDE // 4)
    x, y = axis[None, :], axis[:, None]

    def ellipse(centre: Sequence[float], radii: Sequence[float], angle: float, level: float) -> Pixels:
        u, v = x - centre[0], y - centre[1]
        cos, sin = math.cos(angle), math.sin(angle)
        squared = ((u * cos + v * sin) / radii[0]) ** 2 + ((v * cos - u * sin) / radii[1]) ** 2
        return np.float32(level) / (1 + np.exp(np.clip((squared - 1) * 12, -30, 30)))

    scene = 60 + ellipse(
        rng.uniform(0.47, 0.53, 2).tolist(), rng.uniform(0.40, 0.48, 2).tolist(), rng.uniform(-0.2, 0.2), 35
    )
    for _ in range(2):
        scene += ellipse(
            rng.uniform(0.25, 0.75, 2).tolist(),
            rng.uniform(0.08, 0.20, 2).tolist(),
            rng.uniform(0, np.pi),
            rng.uniform(-14, 14),
        )
    return scene


def _place(difficulty: Difficulty, rng: np.random.Generator, labels: list[str]) -> tuple[Blob, ...]:
    """Blobs inside the picture, any two far enough apart that one crop of 112 px cannot be centred on both."""
    apart = 84.0  # along x or y; four blobs of the hard preset always fit, so the loop ends
    low, high = difficulty.radius
    parts = rng.permutation(len(labels)) if difficulty.graded else None
    blobs: list[Blob] = []
    while len(blobs) < len(labels):
        if parts is None:
            radius = rng.uniform(low, high)
        else:  # from the middle half of its part, so that two sizes are never close
            radius = low + (high - low) * (parts[len(blobs)] + rng.uniform(0.25, 0.75)) / len(labels)
        x, y = rng.uniform(radius + 4, ORIGINAL_SIDE - radius - 4, 2)
        if all(max(abs(x - other.x), abs(y - other.y)) > apart for other in blobs):
            blobs.append(Blob(float(x), float(y), float(radius), labels[len(blobs)]))
    return tuple(blobs)


def _add_blob(scene: Pixels, blob: Blob, difficulty: Difficulty, rng: np.random.Generator) -> None:
    reach = blob.radius + 8  # the edge below is gone by then
    left, right = max(0, int(blob.x - reach)), min(ORIGINAL_SIDE, int(blob.x + reach) + 1)
    top, bottom = max(0, int(blob.y - reach)), min(ORIGINAL_SIDE, int(blob.y + reach) + 1)
    x = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(blob.x)
    y = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(blob.y)
    inside = 1 / (1 + np.exp((np.hypot(x, y) - np.float32(blob.radius)) / 1.5))
    level: Pixels
    if blob.is_lesion:
        frequency = 2 * np.pi / rng.uniform(*difficulty.period)
        phase = rng.uniform(0, 2 * np.pi, 2).astype(np.float32)
        texture = _TEXTURES[blob.label](x, y, np.float32(frequency), phase)
        level = np.float32(rng.uniform(*difficulty.lesion_brightness)) + np.float32(difficulty.texture) * texture
    else:
        level = np.full_like(inside, rng.uniform(*difficulty.decoy_brightness))
    scene[top:bottom, left:right] += inside * level
