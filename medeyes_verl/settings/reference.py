"""Describe a schema: a row for each key with what is allowed, the default and the field's own docstring."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from medeyes_verl.settings.reader import allowed, default_of, joined, section_of, types_of


@dataclass(frozen=True, slots=True)
class Row:
    """One key of the reference page."""

    key: str
    allowed: str
    default: str
    """As YAML has it; "" for a section, "required" where there is none."""
    meaning: str


def rows(schema: type, where: str = "", defaults: object = None) -> Iterator[Row]:
    """Yield the keys of a schema and of its sections, in order.

    Args:
        where: the section's own key, relative to which none is written; "" for the top.
        defaults: an instance that holds the defaults; None: the schema's own.
    """
    said = meanings(schema)
    for field in fields(schema):
        if not field.init:
            continue
        kind, key = types_of(schema)[field.name], joined(where, field.name)
        value = default_of(field) if defaults is None else getattr(defaults, field.name)
        section = section_of(kind)
        if section is None:
            yield Row(key, allowed(kind), "required" if value is MISSING else as_yaml(value), said[field.name])
            continue
        optional = " or null" if value is None else ""
        yield Row(key, f"a section{optional}", "", said[field.name] or inspect.cleandoc(section.__doc__ or ""))
        yield from rows(section, key, None if value in (None, MISSING) else value)


@cache
def meanings(schema: Any) -> dict[str, str]:
    """The docstrings below a dataclass's fields, each on one line; "" for a field without one."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(schema)))  # type: ignore[arg-type]
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == schema.__name__)
    said = {field.name: "" for field in fields(schema)}
    for place, node in enumerate(body):
        below = body[place + 1] if place + 1 < len(body) else None
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            said[node.target.id] = " ".join(str(below.value.value).split())
    return said


def markdown(described: Sequence[Row], whose: str, others: Mapping[str, str]) -> str:
    """A table of rows.

    Args:
        whose: name of a second column of defaults.
        others: those defaults by key, as YAML has them; they are shown where they differ.
    """
    lines = ["| key | allowed | default | meaning |", "|---|---|---|---|"]
    for row in described:
        default = f"`{row.default}`" if row.default not in ("", "required") else row.default
        if row.default and others.get(row.key, row.default) != row.default:
            default += f" ({whose}: `{others[row.key]}`)"
        cells = (f"`{row.key}`", row.allowed, default, row.meaning)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def as_yaml(value: Any) -> str:
    """A default as a YAML file would say it."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(as_yaml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {as_yaml(each)}' for key, each in value.items())}}}"
    return '""' if value == "" else str(value) if isinstance(value, int | float | str | Path) else repr(value)
