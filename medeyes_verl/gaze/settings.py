"""The rules of an episode as one frozen value, read from a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from medeyes_verl.gaze.crop import PixelBounds
from medeyes_verl.gaze.geometry import FRAMES, Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeSettings:
    """What the policy may do, and what it sees. `max_gazes` and the size of 336 px a side are the paper's."""

    frame: Frame = "absolute"
    """The frame the model writes boxes in: `absolute` for Qwen2.5-VL, `relative_1000` for Qwen3-VL."""
    max_gazes: int = 4
    """T_max: observations in an episode. A turn with a blocking fault uses one up as a gaze does."""
    view: PixelBounds = field(default_factory=PixelBounds)
    """Size of the whole picture as the model first sees it."""
    crop: PixelBounds = field(default_factory=PixelBounds)
    """Size of a crop as the model sees it."""
    min_box_side: float = 8.0
    """Shortest side of a gaze in pixels of the original (or the picture's own side where that is shorter)."""
    max_aspect_ratio: float = 10.0
    """Longest side of a gaze over its shortest, in pixels of the original; far below the model's own 200."""
    scan_coverage: float = 0.5
    """Share of its picture from which a gaze counts as a scan, not a drill."""

    def __post_init__(self) -> None:
        if self.frame not in FRAMES:
            raise ValueError(f"frame {self.frame!r} is unknown: use one of {', '.join(FRAMES)}")
        if type(self.max_gazes) is not int:
            raise ValueError(f"max_gazes must be a whole number, not {self.max_gazes!r}")
        for name, low, high in (
            ("max_gazes", 0, 100),
            ("min_box_side", 1, 10_000),
            ("max_aspect_ratio", 1, 100),
            ("scan_coverage", 0, 1),
        ):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not low <= value <= high:
                raise ValueError(f"{name} must be a number from {low} to {high}, not {value!r}")

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> EpisodeSettings:
        """Settings from a recipe's plain mapping; `view` and `crop` are mappings of `PixelBounds`' fields.

        Raises ValueError naming an unknown key or a value that makes no sense.
        """
        values = dict(mapping)
        _check_keys(values, cls, "")
        for name in ("view", "crop"):
            if name in values:
                if not isinstance(values[name], Mapping):
                    raise ValueError(f"{name} must be a mapping of pixel bounds, not {values[name]!r}")
                _check_keys(values[name], PixelBounds, f"{name}.")
                values[name] = PixelBounds(**values[name])
        return cls(**values)


def _check_keys(mapping: Mapping[str, Any], settings: type, prefix: str) -> None:
    known = [entry.name for entry in fields(settings)]
    for key in mapping:
        if key not in known:
            raise ValueError(f"unknown episode setting {prefix}{key}: known are {', '.join(known)}")
