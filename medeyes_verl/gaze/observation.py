"""What the environment answers to a turn."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Observation:
    """What the environment answers to a turn: words or a picture."""

    text: str
    """Without the <feedback> tags; "" where the crop says it all."""
    picture: Image.Image | None
    """The crop, ready for the model; None after a fault."""
