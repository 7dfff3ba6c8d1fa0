"""The system message: the one place where the rules of an episode are put into words for a model."""

from __future__ import annotations

from collections.abc import Sequence

from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.gaze.grammar import Turn, render_turn
from medeyes_verl.gaze.settings import EpisodeSettings

_EXAMPLE_GAZE = Turn("where you look next, and why", Box(120, 80, 220, 180))
_EXAMPLE_ANSWER = Turn("what you saw, and what follows from it", answer="your answer")

_FRAMES = {
    "absolute": "in pixels of the image as you see it",
    "relative_1000": "from 0 to 1000 along each side of the image, whatever its size",
}


def system_prompt(settings: EpisodeSettings, views: Sequence[Size] = ()) -> str:
    """The rules of the game in words, with the settings' own numbers.

    `views` are the sizes of the pictures as the model sees them. In the `absolute` frame they are named,
    because they are the range of the coordinates; the key "image" is explained when there are several.
    """
    paragraphs = [
        "You answer a question about a medical image. You see the image at reduced resolution. Before you answer, "
        f"you can look closer at up to {settings.max_gazes} regions, one a turn.",
        f"To look closer, write:\n{render_turn(_EXAMPLE_GAZE)}",
        "The coordinates are [x1, y1, x2, y2], left, top, right and bottom of the region, "
        f"{_FRAMES[settings.frame]}.{_sizes(settings, views)} You then get the region at full resolution between "
        "<feedback> and </feedback>, or a note of what was wrong with your turn; a faulty turn counts as a look.",
        f"To answer, write:\n{render_turn(_EXAMPLE_ANSWER)}",
        "Each turn is one <reasoning> followed by one <action> or one <answer>, and nothing else. The answer is as "
        "short as possible: yes or no, the letter of an option, or a few words.",
    ]
    if len(views) > 1:
        gaze = render_turn(Turn(_EXAMPLE_GAZE.reasoning, _EXAMPLE_GAZE.box, image=len(views)))
        action = gaze.splitlines()[-1]
        paragraphs.insert(3, f"There are {len(views)} images, counted from 1. Name any but the first:\n{action}")
    return "\n\n".join(paragraphs)


def _sizes(settings: EpisodeSettings, views: Sequence[Size]) -> str:
    if settings.frame != "absolute" or not views:
        return ""
    if len(views) == 1:
        return f" The image is {views[0].width} wide and {views[0].height} high."
    sizes = "; ".join(f"image {number}: {view.width}×{view.height}" for number, view in enumerate(views, 1))
    return f" Width×height of the images: {sizes}."
