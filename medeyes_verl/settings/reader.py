"""Read settings: dataclasses from plain mappings, with errors that name key, value and what is allowed.

A schema is a dataclass whose fields have types, defaults and, as `Annotated[float, Between(0, 1)]`, bounds; a field
that is itself a dataclass is a subsection. `read` is the only way from a recipe, a YAML file or a stored run to such a
value. Keys are matched exactly; values are not converted, except a whole number to a number and text to a path.

Why no library: on frozen dataclasses of the standard library, pydantic 2.14 and msgspec 0.22 ignore unknown keys unless
each class forbids them, and accept NaN; pydantic accepts `true` as 1 unless values travel through JSON. OmegaConf 2.3
knows no Literal. Each would need its errors rewritten, too.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
SHOWN = 80
"""Characters of a value that an error repeats."""


@dataclass(frozen=True, slots=True)
class Between:
    """Bounds of a number, both included: `Annotated[int, Between(0, 100)]`."""

    low: float
    high: float = math.inf
    above: bool = False
    """Whether `low` itself is excluded."""

    def __contains__(self, value: float) -> bool:
        return (value > self.low if self.above else value >= self.low) and value <= self.high

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"above {self.low}" if self.above else f"from {self.low} upwards"
        return f"above {self.low}, at most {self.high}" if self.above else f"from {self.low} to {self.high}"


class SettingError(ValueError):
    """A setting that cannot be used: its full key, its value as shown, the reason with what is allowed, its origin."""

    def __init__(self, key: str, value: str | None, reason: str, origin: str = "") -> None:
        """`value` is None where the reason names what there is; `origin` is a file, or empty."""
        super().__init__(key, value, reason, origin)
        self.key, self.value, self.reason, self.origin = key, value, reason, origin

    def __str__(self) -> str:
        named = self.key if self.value is None else f"{self.key}={self.value}"
        return ": ".join(part for part in (self.origin, named, self.reason) if part)

    def below(self, where: str) -> SettingError:
        """The same error, its key inside the section `where`."""
        return SettingError(joined(where, self.key), self.value, self.reason, self.origin)


def read(schema: type[T], given: Any, where: str = "", *, origin: str = "", base: T | None = None) -> T:
    """Read settings from a mapping.

    Args:
        schema: a dataclass.
        given: a mapping of plain values. Absent keys keep the values of `base`, or the schema's defaults.
        where: the key of the section, for errors.
        origin: the file it comes from, for errors.

    Raises:
        SettingError: an unknown or missing key, a wrong type, or a value that is not allowed.
    """
    try:
        value: T = _section(schema, given, where, base)
    except SettingError as error:
        raise SettingError(error.key, error.value, error.reason, origin) from error
    return value


def read_value(kind: Any, given: Any, where: str) -> Any:
    """Read one value of a type that a schema's field may have. Raises SettingError."""
    return _value(kind, given, where, None)


def check(settings: Any) -> None:
    """Check types and bounds of a dataclass's fields, from its `__post_init__`. Raises SettingError."""
    schema: Any = type(settings)
    for name, kind in types_of(schema).items():
        _value(kind, getattr(settings, name), name, None)


@cache
def types_of(schema: Any) -> dict[str, Any]:
    """The types of a schema's fields, by name, with their bounds."""
    hints = get_type_hints(schema, include_extras=True)
    return {field.name: hints[field.name] for field in fields(schema) if field.init}


def section_of(kind: Any) -> type | None:
    """The dataclass in the type of a subsection (`X` or `X | None`); None for any other type."""
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return next((each for each in options if isinstance(each, type) and is_dataclass(each)), None)


def default_of(field: Any) -> Any:
    """A dataclass field's default; MISSING where it has none."""
    return field.default if field.default_factory is MISSING else field.default_factory()


def keys_of(schema: type, where: str = "") -> list[str]:
    """All keys of a schema that take a value, dotted, in order."""
    keys = []
    for name, kind in types_of(schema).items():
        section = section_of(kind)
        keys += [joined(where, name)] if section is None else keys_of(section, joined(where, name))
    return keys


def allowed(kind: Any) -> str:
    """What a type allows, in words: "a whole number from 0 to 100"."""
    if get_origin(kind) is Annotated:
        kind, *bounds = get_args(kind)
        return " ".join([allowed(kind), *map(str, bounds)])
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, arguments))}" if len(arguments) > 1 else str(arguments[0])
    if get_origin(kind) in (Union, UnionType):
        return " or ".join("null" if each is NoneType else allowed(each) for each in arguments)
    if get_origin(kind) in (tuple, list):
        return f"a list, each {allowed(arguments[0])}"
    if get_origin(kind) is dict:
        return "a mapping"
    if (section := section_of(kind)) is not None:
        return f"a mapping with the keys {', '.join(types_of(section))}"
    return _WORDS.get(kind, "anything")


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}


def shown(value: Any) -> str:
    """A value as YAML would have it, cut to a length that a line can hold."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def joined(where: str, key: str) -> str:
    """A key inside a section."""
    return ".".join(part for part in (where, key) if part)


def _section(schema: type, given: Any, where: str, base: Any) -> Any:
    types = types_of(schema)
    if not isinstance(given, Mapping):
        raise SettingError(where, shown(given), f"use {allowed(schema)}")
    for key in given:
        if key not in types:
            raise SettingError(joined(where, str(key)[:SHOWN]), shown(given[key]), _unknown(schema, str(key)))
    defaults = {
        field.name: default_of(field) if base is None else getattr(base, field.name) for field in fields(schema)
    }
    values = {name: _value(types[name], value, joined(where, name), defaults[name]) for name, value in given.items()}
    for name, kind in types.items():
        if name not in values and defaults[name] is MISSING:
            raise SettingError(joined(where, name), None, f"is required: {allowed(kind)}")
    try:
        return schema(**values) if base is None else replace(base, **values)
    except SettingError as error:
        raise error.below(where) from error
    except ValueError as error:
        raise SettingError(where, None, str(error)) from error


def _unknown(schema: type, key: str) -> str:
    known = list(types_of(schema))
    near = difflib.get_close_matches(key, known, n=1) or [
        each for each in keys_of(schema) if each.rpartition(".")[2] == key
    ]
    hint = f"; did you mean {near[0]}? Known keys" if near else "; known keys"
    return f"there is no such key{hint}: {', '.join(known)}"


def _value(kind: Any, given: Any, where: str, base: Any) -> Any:
    bare, *bounds = get_args(kind) if get_origin(kind) is Annotated else (kind,)
    origin, arguments = get_origin(bare), get_args(bare)
    if origin in (Union, UnionType):
        return _either(bare, given, where, base)
    if (section := section_of(bare)) is not None:
        rest = base if isinstance(base, section) else None
        return given if isinstance(given, section) else _section(section, given, where, rest)
    if origin in (tuple, list) and isinstance(given, Sequence) and not isinstance(given, str | bytes):
        return origin(_value(arguments[0], each, f"{where}[{place}]", None) for place, each in enumerate(given))
    if origin is dict and isinstance(given, Mapping):
        if odd := [key for key in given if not isinstance(key, str)]:
            raise SettingError(f"{where}.{odd[0]}", shown(given[odd[0]]), "use text as key")
        return {key: _value(arguments[1], each, f"{where}.{key}", None) for key, each in given.items()}
    if origin is Literal and any(type(given) is type(each) and given == each for each in arguments):
        return given
    if bare is Any:
        return given
    if bare is float and type(given) in (int, float) and math.isfinite(given) and all(given in each for each in bounds):
        return float(given)
    if bare in (bool, int, str) and type(given) is bare and all(given in each for each in bounds):
        return given
    if bare is Path and (isinstance(given, Path) or (isinstance(given, str) and given)):
        return Path(given).expanduser()
    raise SettingError(where, shown(given), f"use {allowed(kind)}")


def _either(kind: Any, given: Any, where: str, base: Any) -> Any:
    """The value of `X | None`, or of several simple types."""
    options = [each for each in get_args(kind) if each is not NoneType]
    if given is None and NoneType in get_args(kind):
        return None
    if len(options) == 1 and section_of(options[0]):
        return _value(options[0], given, where, base)
    for option in options:
        try:
            return _value(option, given, where, base)
        except SettingError:
            continue
    raise SettingError(where, shown(given), f"use {allowed(kind)}")
