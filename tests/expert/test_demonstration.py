"""What a cell of a demonstrations column may hold."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medeyes_verl.expert.demonstration import Demonstration, DemonstrationError, demonstrations_of

ANSWER = {"role": "assistant", "content": "blue"}
CALL = [
    {"role": "assistant", "content": "let me look", "tool_calls": None},
    {"role": "tool", "content": "a ring", "tool_calls": None},
    {"role": "assistant", "content": "ring", "tool_calls": None},
]
READ = tuple({"role": each["role"], "content": each["content"]} for each in CALL)


@pytest.mark.parametrize(
    ("cell", "turns"),
    [
        (None, []),
        ("", []),
        ([], []),
        ("blue", [1]),
        ([ANSWER], [1]),  # LUFFY's column target
        (CALL, [2]),
        ({"messages": CALL}, [2]),
        (["blue", "red"], [1, 1]),
        ([[ANSWER], CALL], [1, 2]),
        ({"token_ids": [5, 6, 7]}, [1]),
        ({"token_ids": [[5, 6], [7]], "log_probs": [[-0.5, 0.0], [-1.0]]}, [2]),
        ([{"token_ids": [5]}, "blue"], [1, 1]),
    ],
)
def test_each_form_is_read(cell: Any, turns: list[int]) -> None:
    assert [each.num_turns for each in demonstrations_of(cell)] == turns


@pytest.mark.parametrize("cell", [CALL, [CALL, CALL[2:]], {"token_ids": [[5, 6], [7]]}])
def test_a_cell_is_the_same_from_python_arrow_and_numpy(cell: Any) -> None:
    arrow = pa.table({"demonstrations": [cell]})
    expected = demonstrations_of(cell)
    assert demonstrations_of(arrow.column(0).to_pylist()[0]) == expected
    assert demonstrations_of(arrow.to_pandas()["demonstrations"][0]) == expected


def test_nulls_that_a_table_adds_are_no_keys_of_a_message() -> None:
    assert demonstrations_of(CALL) == [Demonstration(READ)]
    assert demonstrations_of(np.array(CALL, dtype=object)) == [Demonstration(READ)]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (7, "is no demonstration"),
        ({"text": "blue"}, "unknown key 'text': known are log_probs, messages, token_ids"),
        ({"messages": [ANSWER], "token_ids": [5]}, "either messages or token_ids"),
        ({"log_probs": [0.0]}, "either messages or token_ids"),
        ({"messages": [{"role": "user", "content": "hm"}]}, "no message has the role assistant"),
        ({"token_ids": []}, "a list for each turn"),
        ({"token_ids": [[5], []]}, "none of them empty"),
        ({"token_ids": [[5, -1]]}, "from 0 upwards"),
        ({"token_ids": [[True]]}, "must hold numbers"),
        ({"token_ids": [5, 6], "log_probs": [0.0]}, "a number for each"),
        ({"token_ids": [5], "log_probs": [0.5]}, "at most 0"),
        ({"token_ids": [5], "log_probs": [float("nan")]}, "finite"),
    ],
)
def test_what_is_no_demonstration_says_why(cell: Any, said: str) -> None:
    with pytest.raises(DemonstrationError, match=said):
        demonstrations_of(cell)


KEYS = st.sampled_from(["role", "content", "messages", "token_ids", "log_probs", "x"])
CELLS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(CELLS)
def test_whatever_a_table_holds_is_read_or_refused(cell: Any) -> None:
    try:
        found = demonstrations_of(cell)
    except DemonstrationError:
        return
    assert all(each.num_turns >= 1 for each in found)
