"""An episode in a terminal: the picture with the gazes on it, each crop, each thought, as they come."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text

from medeyes_verl.demo.session import DISCLAIMER, Stage
from medeyes_verl.gaze.geometry import Box
from medeyes_verl.gaze.trace import EpisodeTrace, TraceTurn
from medeyes_verl.report.annotated_image import gaze_colour, numbered
from medeyes_verl.report.episode_image import box_words, call_words
from medeyes_verl.report.terminal_image import in_terminal

MOST_COLUMNS = 56
"""Characters across a picture; two stand side by side."""


async def show_episode(
    console: Console, stage: Stage, originals: Sequence[Image.Image], question: str, truth: str | None
) -> EpisodeTrace:
    """Play one episode and print it turn by turn. `truth` is printed beside the answer where it is known."""
    console.print(f"[yellow]{DISCLAIMER}[/]")
    console.print(f"[dim]{escape(stage.name)}, rules of {escape(stage.recipe.name)}[/]", highlight=False)
    console.print(stage.destination.sentence(), markup=False, highlight=False)
    console.print(Panel(Text(question), title="question", title_align="left", expand=False))
    boxes: list[tuple[int, Box]] = []
    gazes = 0
    columns = max(16, min(MOST_COLUMNS, (console.width - 8) // 2))
    with console.status("looking …") as status:
        async for event in stage.play(originals, question):
            if isinstance(event, EpisodeTrace):
                console.print(_verdict(event, truth))
                return event
            turn, crop = event
            if turn.box is not None:
                gazes += 1
                if turn.image == 1:
                    boxes.append((gazes, turn.box))
            pictured = console.color_system is not None  # half blocks without colours show nothing
            console.print(_turn(turn, crop, gazes, originals if pictured else (), boxes, columns))
            status.update("thinking …")
    raise AssertionError("every episode ends with its trace")


def _turn(
    turn: TraceTurn,
    crop: Image.Image | None,
    gazes: int,
    originals: Sequence[Image.Image],
    boxes: Sequence[tuple[int, Box]],
    columns: int,
) -> Panel:
    """One turn; after a gaze the picture with all boxes so far beside the crop, where `originals` are given."""
    words: list[RenderableType] = [_words(f"“{turn.reasoning}”" if turn.reasoning else turn.text)]
    if turn.feedback:
        words.append(_words(turn.feedback, "red" if turn.call is None else ""))
    if turn.call is not None:
        if crop is not None and originals:
            words.insert(0, in_terminal(crop, columns))
        return Panel(Group(*words), title=_words(call_words(turn)), title_align="left", expand=False)
    if crop is None or turn.box is None:
        return Panel(Group(*words), title="no gaze" if turn.feedback else "answer", title_align="left", expand=False)
    number = f"gaze {gazes}" + (f", image {turn.image}" if turn.image > 1 else "")
    words.append(Text(box_words(turn.box), style="dim"))
    if originals:
        here = boxes if turn.image == 1 else [(gazes, turn.box)]
        whole = in_terminal(numbered(originals[turn.image - 1], here, side=8 * columns), columns)
        words.insert(0, Columns([whole, in_terminal(crop, columns)], padding=(0, 2)))
    red, green, blue = gaze_colour(gazes)
    style = f"rgb({red},{green},{blue})"
    return Panel(Group(*words), title=number, title_align="left", border_style=style, expand=False)


def _verdict(trace: EpisodeTrace, truth: str | None) -> Text:
    if trace.answer is None:
        text = Text(f"no answer ({trace.finish.replace('_', ' ')})", style="bold red")
    else:
        text = Text.assemble("answer: ", _words(trace.answer, "bold"))
    if truth is not None:
        text.append(f"   truth: {truth}")
    if trace.faults:
        text.append("\nfaults: " + ", ".join(fault.value.replace("_", " ") for fault in trace.faults), style="red")
    return text


def _words(text: str, style: str = "") -> Text:
    """A model's words without control characters, which a terminal would obey."""
    return Text("".join(sign if sign.isprintable() or sign == "\n" else "\ufffd" for sign in text), style)
