"""The grammar: tables of good and bad turns, the identity of writing and reading, and hostile text."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from medeyes_verl.gaze.geometry import Box
from medeyes_verl.gaze.grammar import STOP_STRINGS, Fault, Turn, parse_turn, render_turn

THOUGHT = "<reasoning>look left</reasoning>"
GAZE = '<action>{"name": "Gaze", "coordinate": [14, 28, 42, 56]}</action>'
BOX = Box(14, 28, 42, 56)


def action(text: str) -> str:
    return f"{THOUGHT}\n<action>{text}</action>"


def test_the_written_form_is_this_one() -> None:
    assert render_turn(Turn("scan", BOX)) == (
        '<reasoning>scan</reasoning>\n<action>{"name": "Gaze", "coordinate": [14, 28, 42, 56]}</action>'
    )
    assert render_turn(Turn("scan", Box(1.5, 2, 3, 4), image=2)) == (
        '<reasoning>scan</reasoning>\n<action>{"name": "Gaze", "coordinate": [1.5, 2, 3, 4], "image": 2}</action>'
    )
    assert render_turn(Turn("a ring", answer="ring")) == "<reasoning>a ring</reasoning>\n<answer>ring</answer>"
    assert all(
        any(render_turn(turn).endswith(stop) for stop in STOP_STRINGS)
        for turn in (Turn("a", BOX), Turn("a", answer="b"))
    )


@pytest.mark.parametrize(
    ("text", "turn"),
    [
        (f"{THOUGHT}\n{GAZE}", Turn("look left", BOX)),
        (f"{THOUGHT}{GAZE}", Turn("look left", BOX)),
        (f"  {THOUGHT}\r\n\t{GAZE}\n\n", Turn("look left", BOX)),
        ("<reasoning>\n a\nb \n</reasoning><answer>\n yes \n</answer>", Turn("a\nb", answer="yes")),
        (
            "<reasoning>1 < 2 > 0 & <b>bold</b></reasoning><answer><i>x</i></answer>",
            Turn("1 < 2 > 0 & <b>bold</b>", answer="<i>x</i>"),
        ),
        (f"{THOUGHT}<answer>左肺</answer>", Turn("look left", answer="左肺")),
        (action('{"name":"Gaze","coordinate":[1,2,3,4]}'), Turn("look left", Box(1, 2, 3, 4))),
        (action('\n{"coordinate": [1.25, 2e0, 3, 4.0], "name": "Gaze"}\n'), Turn("look left", Box(1.25, 2, 3, 4))),
        (action('{"name": "Gaze", "coordinate": [1, 2, 3, 4], "image": 3}'), Turn("look left", Box(1, 2, 3, 4), 3)),
        (action('{"name": "Gaze", "coordinate": [1, 2, 3, 4], "image": 0}'), Turn("look left", Box(1, 2, 3, 4), 0)),
        # The box itself is the episode's to judge.
        (action('{"name": "Gaze", "coordinate": [-5, 9, -7, 1]}'), Turn("look left", Box(-5, 9, -7, 1))),
        (action('{"name": "Gaze", "coordinate": [0, 0, 0, 0]}'), Turn("look left", Box(0, 0, 0, 0))),
    ],
)
def test_good_turns(text: str, turn: Turn) -> None:
    assert parse_turn(text) == turn


MISSING, OUTSIDE = Fault.missing_reasoning, Fault.text_outside_tags


@pytest.mark.parametrize(
    ("text", "turn"),
    [
        (GAZE, Turn("", BOX, faults=(MISSING,))),
        ("<answer>yes</answer>", Turn("", answer="yes", faults=(MISSING,))),
        ("<reasoning> </reasoning><answer>yes</answer>", Turn("", answer="yes", faults=(MISSING,))),
        (f"Sure! {THOUGHT}{GAZE}", Turn("look left", BOX, faults=(OUTSIDE,))),
        (f"{THOUGHT} then {GAZE}", Turn("look left", BOX, faults=(OUTSIDE,))),
        (f"{THOUGHT}{GAZE} done", Turn("look left", BOX, faults=(OUTSIDE,))),
        (f"{THOUGHT}{THOUGHT}{GAZE}", Turn("look left", BOX, faults=(OUTSIDE,))),
        (f"{GAZE}{THOUGHT}", Turn("", BOX, faults=(MISSING, OUTSIDE))),
        (f"{THOUGHT}<feedback>a crop</feedback>{GAZE}", Turn("look left", BOX, faults=(OUTSIDE,))),
        (f"{THOUGHT}</feedback>{GAZE}", Turn("look left", BOX, faults=(OUTSIDE,))),
        (f"<think>hm</think>{THOUGHT}{GAZE}", Turn("look left", BOX, faults=(OUTSIDE,))),
        # A thought left open, or one that mentions a tag, costs form but not the answer.
        ("<reasoning>it is <answer>yes</answer>", Turn("", answer="yes", faults=(MISSING, OUTSIDE))),
        (
            "<reasoning>I put it in <answer> now</reasoning><answer>no</answer>",
            Turn("", answer="no", faults=(MISSING, OUTSIDE)),
        ),
        ("look left</reasoning><answer>yes</answer>", Turn("", answer="yes", faults=(MISSING, OUTSIDE))),
        # The last answer counts.
        (f"{THOUGHT}<answer>yes</answer><answer>no</answer>", Turn("look left", answer="no", faults=(OUTSIDE,))),
        ("<Reasoning>a</Reasoning><answer>no</answer>", Turn("", answer="no", faults=(MISSING, OUTSIDE))),
    ],
)
def test_slips_of_form_are_noted_and_the_turn_stands(text: str, turn: Turn) -> None:
    assert parse_turn(text) == turn


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", (MISSING, Fault.no_action_or_answer)),
        ("   \n", (MISSING, Fault.no_action_or_answer)),
        ("yes", (MISSING, OUTSIDE, Fault.no_action_or_answer)),
        (THOUGHT, (Fault.no_action_or_answer,)),
        ("<reasoning>cut", (MISSING, OUTSIDE, Fault.no_action_or_answer)),
        (f"{THOUGHT}</answer>", (OUTSIDE, Fault.no_action_or_answer)),
        (f"{THOUGHT}<answer>yes", (OUTSIDE, Fault.unclosed_tag)),
        (f'{THOUGHT}<action>{{"name": "Ga', (OUTSIDE, Fault.unclosed_tag)),
        (f"{THOUGHT}<action>{{}}</answer>", (OUTSIDE, Fault.unclosed_tag)),
        (f"{THOUGHT}{GAZE}{GAZE}", (Fault.two_actions,)),
        (f"{THOUGHT}{GAZE} and {GAZE}", (OUTSIDE, Fault.two_actions)),
        (f"{THOUGHT}{GAZE}<answer>yes</answer>", (Fault.answer_beside_action,)),
        (f"{THOUGHT}<answer>yes</answer>{GAZE}", (Fault.answer_beside_action,)),
        (f"<answer>yes</answer>{GAZE}{GAZE}", (MISSING, Fault.answer_beside_action)),
        (f"{THOUGHT}<answer></answer>", (Fault.empty_answer,)),
        (f"{THOUGHT}<answer> \n </answer>", (Fault.empty_answer,)),
        ("<answer></answer>", (MISSING, Fault.empty_answer)),
    ],
)
def test_blocked_turns(text: str, faults: tuple[Fault, ...]) -> None:
    turn = parse_turn(text)
    assert turn.faults == faults
    assert turn.box is None
    assert turn.answer is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Gaze",
        "null",
        "[1, 2, 3, 4]",
        '"Gaze"',
        "{}",
        "{'name': 'Gaze', 'coordinate': [1, 2, 3, 4]}",
        '{"name": "Gaze"}',
        '{"coordinate": [1, 2, 3, 4]}',
        '{"name": 7, "coordinate": [1, 2, 3, 4]}',
        '{"name": ["Gaze"], "coordinate": [1, 2, 3, 4]}',
        '{"name": "Gaze", "coordinate": null}',
        '{"name": "Gaze", "coordinate": "1, 2, 3, 4"}',
        '{"name": "Gaze", "coordinate": {"x1": 1, "y1": 2, "x2": 3, "y2": 4}}',
        '{"name": "Gaze", "coordinate": []}',
        '{"name": "Gaze", "coordinate": [1, 2, 3]}',
        '{"name": "Gaze", "coordinate": [1, 2, 3, 4, 5]}',
        '{"name": "Gaze", "coordinate": [[1, 2], [3, 4]]}',
        '{"name": "Gaze", "coordinate": [1, 2, 3, "4"]}',
        '{"name": "Gaze", "coordinate": [1, 2, 3, null]}',
        '{"name": "Gaze", "coordinate": [true, false, 3, 4]}',
        '{"name": "Gaze", "coordinate": [1, 2, 3, NaN]}',
        '{"name": "Gaze", "coordinate": [1, 2, 3, Infinity]}',
        '{"name": "Gaze", "coordinate": [-Infinity, 2, 3, 4]}',
        '{"name": "Gaze", "coordinate": [1, 2, 3, 1e999]}',
        '{"name": "Gaze", "coordinate": [1, 2, 3, 1e9]}',
        '{"name": "Gaze", "coordinate": [1, 2, 3, ' + "9" * 400 + "]}",
        '{"name": "Gaze", "coordinate": [1, 2, 3, ' + "9" * 20_000 + "]}",
        '{"name": "Gaze", "coordinate": [1, 2, 3, 4], "image": "1"}',
        '{"name": "Gaze", "coordinate": [1, 2, 3, 4], "image": 1.0}',
        '{"name": "Gaze", "coordinate": [1, 2, 3, 4], "image": true}',
        '{"name": "Gaze", "coordinate": [1, 2, 3, 4], "image": null}',
        '{"name": "Gaze", "coordinate": [1, 2, 3, 4], "image": ' + "9" * 400 + "}",
        '{"name": "Gaze", "coordinate": [1, 2, 3, 4], "label": "lung"}',
        '{"name": "Gaze", "coordinate": [1, 2, 3, 4], "coordinate": [5, 6, 7, 8]}',
        '{"name": "Gaze", "coordinate": [1, 2, 3, 4]} {}',
        '{"name": "Gaze", "coordinate": [1, 2, 3, 4]',
        '{"name": "Gaze", "coordinate": [1, 2, 3, 4],}',
        '{"name": "Gaze", "coordinate": [01, 2, 3, 4]}',
        "[" * 500,
        "[" * 100_000,
        '{"name":' * 60,
        '__import__("os").system("true")',
        "\ud800",
    ],
)
def test_malformed_actions(text: str) -> None:
    turn = parse_turn(action(text))
    assert turn == Turn("look left", faults=(Fault.malformed_action,))


@pytest.mark.parametrize("name", ["gaze", "Zoom", "", "Gaze ", "image_zoom_in_tool"])
def test_unknown_tools(name: str) -> None:
    turn = parse_turn(action(f'{{"name": "{name}", "coordinate": [1, 2, 3, 4]}}'))
    assert turn == Turn("look left", faults=(Fault.unknown_tool,))


def thoughts() -> st.SearchStrategy[str]:
    """Text as a turn can hold it: stripped, not empty, without tags."""
    plain = st.text(min_size=1) | st.lists(st.sampled_from(["<", "a", "/", "reasoning", " ", ">", "answer", "\n"])).map(
        "".join
    )
    return plain.map(str.strip).filter(lambda text: text and parse_turn(f"<answer>{text}</answer>").answer == text)


coordinates = st.integers(-1_000_000, 1_000_000) | st.floats(-1_000_000, 1_000_000)
turns = st.builds(Turn, thoughts(), st.builds(Box, *[coordinates] * 4), st.integers(-1_000_000, 1_000_000)) | st.builds(
    Turn, thoughts(), answer=thoughts()
)


@given(turns)
@example(Turn("a", Box(1e-7, -1e-300, 0.1, 999999.9999)))
@example(Turn("a", Box(-0.0, 0, 1, 1)))
@example(Turn("a", answer="</b>"))
def test_reading_what_was_written_gives_the_turn_back(turn: Turn) -> None:
    assert parse_turn(render_turn(turn)) == turn


@pytest.mark.parametrize(
    "turn",
    [
        Turn("", BOX),
        Turn("a"),
        Turn("a", BOX, answer="b"),
        Turn(" a", BOX),
        Turn("a", answer="b\n"),
        Turn("a", answer=""),
        Turn("a <answer>", answer="b"),
        Turn("a", answer="b</answer>"),
        Turn("a", answer="b", image=2),
        Turn("a", Box(0, 0, 1e12, 1)),
        Turn("a", Box(0, 0, float("nan"), 1)),
        Turn("a", Box(0, 0, float("inf"), 1)),
        Turn("a", BOX, faults=(Fault.tiny_box,)),
    ],
)
def test_a_turn_that_cannot_be_read_back_is_not_written(turn: Turn) -> None:
    with pytest.raises(ValueError, match="cannot be written as one turn"):
        render_turn(turn)


TAGS = [f"<{slash}{name}>" for name in ("reasoning", "action", "answer", "feedback") for slash in ("", "/")]
WHOLE, OPEN = '{"name": "Gaze", "coordinate": [1, 2, 3, 4]}', '{"name": "Gaze", "coordinate": ['
pieces = st.sampled_from([*TAGS, "a", " ", "<", "{", WHOLE, OPEN, "[9e999"])


@given(st.lists(pieces, max_size=12).map("".join) | st.text())
def test_any_text_is_either_carried_out_or_blocked(text: str) -> None:
    turn = parse_turn(text)
    slips = {MISSING, OUTSIDE}
    blocked = [fault for fault in turn.faults if fault not in slips]
    carried_out = (turn.box is not None) + (turn.answer is not None)
    assert len(blocked) + carried_out == 1
    assert turn.faults[len(turn.faults) - len(blocked) :] == tuple(blocked)
    if not turn.faults:
        assert parse_turn(render_turn(turn)) == turn


@pytest.mark.parametrize(
    "piece",
    ["<reasoning>", "</answer>", "<action>{", "<action>[</action>", "<", "</", " ", "<answer>a</answer>", "{" * 9],
)
def test_reading_takes_linear_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    start = time.perf_counter()
    parse_turn(text)
    assert time.perf_counter() - start < 3
