"""Text <-> turns: the one definition of the format a policy writes.

    <reasoning>where to look, and why</reasoning>
    <action>{"name": "Gaze", "coordinate": [x1, y1, x2, y2]}</action>

and at the end `<answer>…</answer>` in place of the action. A tool of the user's is called in the same form,
`{"name": "Contrast", "factor": 2}`, with "image" where it is not the first. The agent loop, the experts, the reward,
the evaluation and the pictures all read and write turns here and nowhere else.

A model's text is untrusted: parsing never raises, scans the text once, and hands JSON only a slice of bounded
length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from medeyes_verl.gaze.geometry import Box

STOP_STRINGS = ("</action>", "</answer>")
"""A turn is over when the model has written one of these."""

TOOL_NAME = "Gaze"
MAX_ACTION_CHARACTERS = 512
"""Longer than any sensible action; what is longer is malformed and never reaches the JSON reader."""
MAX_COORDINATE = 1_000_000
"""No picture has so many pixels a side: a larger number is garbage and is not computed with."""

_TAG = re.compile(r"<(/?)(reasoning|action|answer|feedback)>")


class Fault(str, Enum):
    """All that can be wrong with a turn. The values are what is logged."""

    missing_reasoning = "missing_reasoning"
    text_outside_tags = "text_outside_tags"
    no_action_or_answer = "no_action_or_answer"
    unclosed_tag = "unclosed_tag"
    two_actions = "two_actions"
    answer_beside_action = "answer_beside_action"
    malformed_action = "malformed_action"
    unknown_tool = "unknown_tool"
    empty_answer = "empty_answer"
    empty_box = "empty_box"
    inverted_box = "inverted_box"
    outside_box = "outside_box"
    tiny_box = "tiny_box"
    sliver_box = "sliver_box"
    unknown_image = "unknown_image"
    gaze_limit = "gaze_limit"
    bad_arguments = "bad_arguments"
    tool_limit = "tool_limit"


TOOL_FAULTS = frozenset({Fault.bad_arguments, Fault.tool_limit})
"""Faults of calls of a tool of the user's."""
FORM_SLIPS = frozenset({Fault.missing_reasoning, Fault.text_outside_tags})
"""Faults of form: the gaze or the answer beside them is still carried out. Every other fault blocks its turn."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool other than Gaze, as written."""

    name: str
    arguments: Mapping[str, Any]
    """JSON values by name, without `name` and `image`."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the model. A turn without a blocking fault has a box, a call or an answer, and one of them."""

    reasoning: str
    """The thought, stripped; "" when missing."""
    box: Box | None = None
    """The gaze as written, in the model's frame; not yet checked against any picture."""
    image: int = 1
    """Which picture the box is on, from 1, as written."""
    answer: str | None = None
    """The answer, stripped."""
    faults: tuple[Fault, ...] = ()
    """What is wrong with the form, a blocking fault last; faults of the box itself are the episode's to find."""
    call: ToolCall | None = None
    """The call of a tool of the user's; `image` is then the image it names."""


def parse_turn(text: str, tools: Collection[str] = ()) -> Turn:
    """Read one turn. Never raises; what is wrong is in `Turn.faults`. `tools` are the names known beside Gaze.

    `text` is the model's whole turn with special tokens such as <|im_end|> already removed from its end. Tags
    do not nest: a tag inside an open block abandons that block, so that a mention of `<answer>` in a thought
    costs a fault of form and not the turn. Of several answers the last one counts.
    """
    blocks, abandoned, stray_text = _blocks(text)
    reasoning = blocks[0][1] if blocks and blocks[0][0] == "reasoning" else ""
    actions = [content for kind, content in blocks if kind == "action"]
    answers = [content for kind, content in blocks if kind == "answer"]

    faults: list[Fault] = []
    if not reasoning:
        faults.append(Fault.missing_reasoning)
    expected = bool(blocks and blocks[0][0] == "reasoning") + len(actions) + bool(answers)
    if stray_text or len(blocks) != expected:
        faults.append(Fault.text_outside_tags)

    if actions and answers:
        return Turn(reasoning, faults=(*faults, Fault.answer_beside_action))
    if len(actions) > 1:
        return Turn(reasoning, faults=(*faults, Fault.two_actions))
    if actions:
        action = _parse_action(actions[0], tools)
        if isinstance(action, Fault):
            return Turn(reasoning, faults=(*faults, action))
        done, image = action
        if isinstance(done, ToolCall):
            return Turn(reasoning, image=image, faults=tuple(faults), call=done)
        return Turn(reasoning, done, image, faults=tuple(faults))
    if answers:
        if not answers[-1]:
            return Turn(reasoning, faults=(*faults, Fault.empty_answer))
        return Turn(reasoning, answer=answers[-1], faults=tuple(faults))
    opened = abandoned & {"action", "answer"}
    return Turn(reasoning, faults=(*faults, Fault.unclosed_tag if opened else Fault.no_action_or_answer))


def render_turn(turn: Turn) -> str:
    """Write one turn, so that `parse_turn` reads back exactly it.

    Raises ValueError for a turn that cannot be read back: one with faults, without or with more than one of box,
    call and answer, or whose text is empty, not stripped or contains a tag.
    """
    text = f"<reasoning>{turn.reasoning}</reasoning>\n"
    if turn.box is not None:
        image = "" if turn.image == 1 else f', "image": {turn.image}'
        coordinate = ", ".join(_number(value) for value in turn.box.as_list())
        text += f'<action>{{"name": "{TOOL_NAME}", "coordinate": [{coordinate}]{image}}}</action>'
    if turn.call is not None:
        named = {"name": turn.call.name, **turn.call.arguments} | ({} if turn.image == 1 else {"image": turn.image})
        text += f"<action>{json.dumps(named, ensure_ascii=False)}</action>"
    if turn.answer is not None:
        text += f"<answer>{turn.answer}</answer>"
    tools = () if turn.call is None else (turn.call.name,)
    if turn.faults or parse_turn(text, tools) != turn:
        raise ValueError(
            f"{turn} cannot be written as one turn: give it either a box or an answer, and text that is not "
            "empty, has no white space around it and contains none of the tags"
        )
    return text


def _blocks(text: str) -> tuple[list[tuple[str, str]], set[str], bool]:
    """One pass over the tags: closed blocks as (tag, stripped content), tags left open, is text outside."""
    blocks: list[tuple[str, str]] = []
    abandoned: set[str] = set()
    stray_text = False
    open_tag: str | None = None
    start = 0
    for tag in _TAG.finditer(text):
        closing, name = tag.group(1) == "/", tag.group(2)
        content = text[start : tag.start()].strip()
        start = tag.end()
        if closing and name == open_tag:
            blocks.append((name, content))
            open_tag = None
            continue
        if open_tag is not None:
            abandoned.add(open_tag)
        stray_text = stray_text or closing or open_tag is not None or bool(content)
        open_tag = None if closing else name
    if open_tag is not None:
        abandoned.add(open_tag)
    return blocks, abandoned, stray_text or open_tag is not None or bool(text[start:].strip())


def _parse_action(text: str, tools: Collection[str]) -> tuple[Box | ToolCall, int] | Fault:
    """The box, or the call of a tool, and the picture of one action, or what is wrong with it."""
    if len(text) > MAX_ACTION_CHARACTERS:
        return Fault.malformed_action
    try:
        action = json.loads(text, object_pairs_hook=_object_without_repeated_keys)
    except (ValueError, RecursionError):
        return Fault.malformed_action
    if not isinstance(action, dict) or not isinstance(action.get("name"), str):
        return Fault.malformed_action
    if action["name"] in tools:
        return _parse_call(action)
    if action["name"] != TOOL_NAME:
        return Fault.unknown_tool
    coordinate, image = action.get("coordinate"), action.get("image", 1)
    if (
        action.keys() - {"name", "coordinate", "image"}
        or not isinstance(coordinate, list)
        or len(coordinate) != 4
        or not all(_is_number(value) for value in coordinate)
        or type(image) is not int
        or abs(image) > MAX_COORDINATE
    ):
        return Fault.malformed_action
    return Box(*(float(value) for value in coordinate)), image


def _parse_call(action: dict[str, Any]) -> tuple[ToolCall, int] | Fault:
    """The call and its image. Its arguments are JSON that every log can hold: no NaN, no half of a character."""
    image = action.get("image", 1)
    if type(image) is not int or abs(image) > MAX_COORDINATE:
        return Fault.malformed_action
    arguments = {key: value for key, value in action.items() if key not in ("name", "image")}
    try:
        json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return Fault.malformed_action
    return ToolCall(action["name"], arguments), image


def _object_without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("a key is repeated")
    return mapping


def _is_number(value: object) -> bool:
    """A finite number of sensible size; true and false are no numbers."""
    # NaN and the infinities fail the comparison too.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_COORDINATE


def _number(value: float) -> str:
    """Whole numbers without decimals, as models write them."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))
