"""One cell of a source as text, or why it cannot be one.

Tables and JSON files hold what their writer left there: a missing value as None or NaN, an integer that pandas made
a float, a list where one answer was meant. `str()` turns all of these into text that looks like an answer.
"""

from __future__ import annotations

import ast
import math
import re
from decimal import Decimal

_LOST_APOSTROPHE = re.compile("(?<=[A-Za-z])\ufffd(?=[A-Za-z])")
_BYTE_ORDER_MARK = "\ufeff"
_LARGEST_WHOLE = 2**53
"""Whole floats are exact up to here."""
_MAX_LIST_CHARACTERS = 20_000


def is_missing(value: object) -> bool:
    """Whether a cell holds nothing: None, or the NaN that pandas writes for it. The text "None" is a value."""
    return value is None or (isinstance(value, float | Decimal) and math.isnan(value))


def one_value(value: object) -> object:
    """The only value of a list that has one, also where the list was written as text; anything else as it is."""
    listed = as_list(value)
    return listed[0] if listed is not None and len(listed) == 1 and not isinstance(listed[0], list | dict) else value


def as_list(value: object) -> list[object] | None:
    """A list, also one of quoted texts that was written as text ("[0, 1]" is an interval); else None.

    Literals only, nothing is evaluated.
    """
    if isinstance(value, str) and value.strip().startswith("[") and len(value) <= _MAX_LIST_CHARACTERS:
        try:
            found = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
        return found if isinstance(found, list) and found and all(isinstance(item, str) for item in found) else None
    return list(value) if isinstance(value, list | tuple) else None


def fault_of(value: object) -> str:
    """Why a cell is no single text or number, or ""; a missing value is not faulty, it is empty."""
    value = one_value(value)
    listed = as_list(value)
    if listed is not None:
        return f"a list of {len(listed)} values"
    if isinstance(value, float | Decimal) and math.isinf(value):
        return "an infinite number"
    if value is None or isinstance(value, str | int | float | Decimal):
        return ""
    return f"of type {type(value).__name__}"


def tidy(value: object, *, lines: bool = False) -> tuple[str, tuple[str, ...]]:
    """A cell as text, and what had to be done to it; "" for a cell that is missing or faulty.

    Booleans become yes and no, whole floats lose their ".0". With `lines`, line breaks stay.
    """
    notes = []
    if isinstance(value, str) and value != (only := one_value(value)):
        notes.append("a list of one value")
        value = only
    if not isinstance(value, str):
        notes.append("a value that is no text")
    text = _text(one_value(value))
    unmarked = text.replace(_BYTE_ORDER_MARK, "").replace("\r\n", "\n").replace("\r", "\n")
    tidied = re.sub(r"[^\S\n]+" if lines else r"\s+", " ", unmarked).strip()
    if tidied != text:
        notes.append("white space tidied")
    restored = _LOST_APOSTROPHE.sub("'", tidied)
    if restored != tidied:
        notes.append("lost apostrophe (U+FFFD) restored")
    return restored, tuple(notes)


def _text(value: object) -> str:
    if is_missing(value) or fault_of(value):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | Decimal) and abs(whole := int(value)) <= _LARGEST_WHOLE and value == whole:
        return str(whole)
    return str(value)


def label(value: object) -> str | None:
    """A cell of a column of labels: its text in one line, None where it is missing, empty or faulty."""
    return tidy(value)[0] or None
