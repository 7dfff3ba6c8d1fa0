"""The system message: an episode's settings in words for a model (the wording: prompts/default/system_prompt.j2)."""

from __future__ import annotations

from collections.abc import Sequence

from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.gaze.grammar import Turn, render_turn
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.gaze.tool import load_tools, words_for_prompt
from medeyes_verl.prompts.templates import text

_EXAMPLE_GAZE = Turn("where you look next, and why", Box(120, 80, 220, 180))
_EXAMPLE_ANSWER = Turn("what you saw, and what follows from it", answer="your answer")


def system_prompt(settings: EpisodeSettings, views: Sequence[Size] = ()) -> str:
    """The rules of the game in words, with the settings' own numbers.

    `views` are the sizes of the pictures as the model sees them. In the `absolute` frame they are named,
    because they are the range of the coordinates; the key "image" is explained when there are several.
    """
    on_last = render_turn(Turn(_EXAMPLE_GAZE.reasoning, _EXAMPLE_GAZE.box, image=max(1, len(views))))
    return text(settings.prompts, "system_prompt.j2").render(
        max_gazes=settings.max_gazes,
        frame=settings.frame,
        views=list(views),
        gaze=render_turn(_EXAMPLE_GAZE),
        gaze_on_last=on_last.splitlines()[-1],
        answer=render_turn(_EXAMPLE_ANSWER),
        tools=words_for_prompt(load_tools(settings.tools).values(), _EXAMPLE_GAZE.reasoning),
    )
