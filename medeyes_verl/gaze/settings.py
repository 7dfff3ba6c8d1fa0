"""The settings of an episode as one frozen value, read from a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from medeyes_verl.gaze.crop import PixelBounds
from medeyes_verl.gaze.geometry import Frame
from medeyes_verl.settings.reader import Between, check


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeSettings:
    """What the policy may do, and what it sees. `max_gazes` and the size of 336 px a side are the paper's."""

    frame: Frame = "absolute"
    """The frame the model writes boxes in: `absolute` for Qwen2.5-VL, `relative_1000` for Qwen3-VL."""
    max_gazes: Annotated[int, Between(0, 100)] = 4
    """T_max: observations in an episode. A turn with a blocking fault uses one up as a gaze does."""
    view: PixelBounds = field(default_factory=PixelBounds)
    """Size of the whole image as the model first sees it."""
    crop: PixelBounds = field(default_factory=PixelBounds)
    """Size of a crop as the model sees it."""
    min_box_side: Annotated[float, Between(1, 10_000)] = 8.0
    """Shortest side of a gaze in pixels of the original (or the image's own side where that is shorter)."""
    max_aspect_ratio: Annotated[float, Between(1, 100)] = 10.0
    """Longest side of a gaze over its shortest, in pixels of the original; far below the model's own 200."""
    scan_coverage: Annotated[float, Between(0, 1)] = 0.5
    """Share of its image from which a gaze counts as a scan, not a drill."""
    tools: tuple[str, ...] = ()
    """Actions of your own beside Gaze, by import path: `my_tool.py:Contrast` (docs/extend.md)."""
    prompts: str | None = None
    """Folder with prompt templates of your own (docs/extend.md); null: the package's words."""

    def __post_init__(self) -> None:
        check(self)
