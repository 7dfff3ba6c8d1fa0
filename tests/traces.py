"""Traces made by hand, for tests of what reads them."""

from collections.abc import Sequence

from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.gaze.grammar import Fault
from medeyes_verl.gaze.trace import EpisodeTrace, Finish, Mode, TraceTurn


def trace_of(
    *boxes: Box,
    answer: str | None = "ring",
    images: Sequence[int] | None = None,
    modes: Sequence[Mode] | None = None,
    faults: tuple[Fault, ...] = (),
    finish: Finish | None = None,
    num_tokens: int = 0,
) -> EpisodeTrace:
    """A gaze a box (drills on the first image where nothing else is said), then a last turn with the faults."""
    gazes = [
        TraceTurn("<reasoning>look</reasoning>", "look", "", box, image, mode)
        for box, image, mode in zip(boxes, images or [1] * len(boxes), modes or ["drill"] * len(boxes), strict=True)
    ]
    text = "<reasoning>seen</reasoning>" + ("" if answer is None else f"\n<answer>{answer}</answer>")
    last = TraceTurn(text, "seen", None, faults=faults, num_tokens=num_tokens)
    ended: Finish = finish or ("gaze_limit" if answer is None else "answered")
    return EpisodeTrace((*gazes, last), answer, ended, (Size(100, 100),), (Size(56, 56),))
