"""Settings are read from mappings exactly, and refused with key, value, what is allowed and where it comes from."""

import math
import pickle
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from medeyes_verl.expert.build_settings import BuildSettings
from medeyes_verl.expert.oracles.choice import OracleSettings
from medeyes_verl.gaze.crop import PixelBounds
from medeyes_verl.settings.reader import Between, SettingError, check, keys_of, read, section_of, types_of
from medeyes_verl.settings.sources import read_node


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    least: Annotated[int, Between(1)] = 1
    most: Annotated[int, Between(1)] = 9

    def __post_init__(self) -> None:
        check(self)
        if self.least > self.most:
            raise SettingError("least", str(self.least), f"use at most most={self.most}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str
    kind: Literal["a", "b"] = "a"
    share: Annotated[float, Between(0, 1)] = 0.5
    above: Annotated[float, Between(0, above=True)] = 1.0
    flag: bool = False
    count: Annotated[int, Between(0)] | None = None
    folder: Path | None = None
    inner: Inner = field(default_factory=Inner)
    other: Inner | None = None
    margins: tuple[float, ...] = (1.0,)
    several: tuple[Inner, ...] = ()
    free: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wide:
    inner: Inner = field(default_factory=lambda: Inner(most=100))


def test_values_of_every_type() -> None:
    made = read(
        Outer,
        {
            "name": "x", "kind": "b", "share": 1, "above": 1e-9, "flag": True, "count": 3, "folder": "~/a",
            "inner": {"most": 4}, "other": {}, "margins": [1, 2.5], "several": [{"least": 2}], "free": {"k": [1, "v"]},
        },
    )  # fmt: skip
    assert made == Outer(
        name="x", kind="b", share=1.0, above=1e-9, flag=True, count=3, folder=Path.home() / "a", inner=Inner(most=4),
        other=Inner(), margins=(1.0, 2.5), several=(Inner(least=2),), free={"k": [1, "v"]},
    )  # fmt: skip
    assert type(made.share) is float


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "S.name: is required: text"),
        ({"name": 3}, "S.name=3: use text"),
        (
            {"name": "x", "knd": "a"},
            "S.knd='a': there is no such key; did you mean kind? Known keys: name, kind",
        ),
        ({"name": "x", "most": 3}, "S.most=3: there is no such key; did you mean inner.most? Known keys: name"),
        ({"name": "x", 1: 2}, "S.1=2: there is no such key; known keys: name"),
        ({"name": "x", "kind": "c"}, "S.kind='c': use one of a, b"),
        ({"name": "x", "kind": None}, "S.kind=null: use one of a, b"),
        ({"name": "x", "share": 1.01}, "S.share=1.01: use a number from 0 to 1"),
        ({"name": "x", "share": True}, "S.share=true: use a number from 0 to 1"),
        ({"name": "x", "share": math.nan}, "S.share=nan: use a number from 0 to 1"),
        ({"name": "x", "above": 0}, "S.above=0: use a number above 0"),
        ({"name": "x", "above": math.inf}, "S.above=inf: use a number above 0"),
        ({"name": "x", "flag": 1}, "S.flag=1: use true or false"),
        ({"name": "x", "flag": "yes"}, "S.flag='yes': use true or false"),
        ({"name": "x", "count": 2.0}, "S.count=2.0: use a whole number from 0 upwards or null"),
        ({"name": "x", "count": -1}, "S.count=-1: use a whole number from 0 upwards or null"),
        ({"name": "x", "count": "2"}, "S.count='2': use a whole number from 0 upwards or null"),
        ({"name": "x", "folder": ""}, "S.folder='': use a path or null"),
        ({"name": "x", "folder": 3}, "S.folder=3: use a path or null"),
        ({"name": "x", "inner": None}, "S.inner=null: use a mapping with the keys least, most"),
        ({"name": "x", "inner": [1]}, "S.inner=[1]: use a mapping with the keys least, most"),
        ({"name": "x", "inner": {"least": 0}}, "S.inner.least=0: use a whole number from 1 upwards"),
        ({"name": "x", "inner": {"least": 5, "most": 4}}, "S.inner.least=5: use at most most=4"),
        ({"name": "x", "other": {"mst": 5}}, "S.other.mst=5: there is no such key; did you mean most? Known"),
        ({"name": "x", "margins": 1.0}, "S.margins=1.0: use a list, each a number"),
        ({"name": "x", "margins": "12"}, "S.margins='12': use a list, each a number"),
        ({"name": "x", "margins": [1, "x"]}, "S.margins[1]='x': use a number"),
        ({"name": "x", "several": [{}, {"least": "1"}]}, "S.several[1].least='1': use a whole number from 1 upwards"),
        ({"name": "x", "free": [1]}, "S.free=[1]: use a mapping"),
        ({"name": "x", "free": {1: 2}}, "S.free.1=2: use text as key"),
        (3, "S=3: use a mapping with the keys name, kind"),
    ],
)
def test_what_cannot_be_used_is_named(given: Any, said: str) -> None:
    with pytest.raises(SettingError) as caught:
        read(Outer, given, "S", origin="file.yaml")
    assert str(caught.value).startswith(f"file.yaml: {said}")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_an_error_repeats_no_more_of_a_value_than_a_line_holds() -> None:
    with pytest.raises(SettingError) as caught:
        read(Outer, {"name": "x", "share": "9" * 10_000})
    assert len(str(caught.value)) < 200


def test_absent_keys_keep_the_base() -> None:
    base = Outer(name="x", inner=Inner(least=2, most=3), share=0.1)
    assert read(Outer, {"inner": {"most": 5}}, base=base) == Outer(name="x", inner=Inner(least=2, most=5), share=0.1)
    with pytest.raises(SettingError, match=r"^inner\.least=4: use at most most=3"):
        read(Outer, {"inner": {"least": 4}}, base=base)


def test_a_part_of_a_section_keeps_the_rest_of_its_default() -> None:
    assert read(Wide, {"inner": {"least": 50}}) == Wide(Inner(least=50, most=100))
    http = {"url": "http://h/v1/chat/completions"}
    section = {"endpoint": {"http": http, "model": "m", "bounds": {"multiple": 32}}}
    endpoint = read(OracleSettings, section).endpoint
    assert endpoint is not None
    assert endpoint.bounds == PixelBounds(max_pixels=1008 * 1008, multiple=32)


def test_keys_of_a_schema() -> None:
    assert keys_of(Inner, "a.b") == ["a.b.least", "a.b.most"]
    assert "other.most" in keys_of(Outer)


def test_interpolations_are_resolved_or_named() -> None:
    config = OmegaConf.create({"k": {"name": "${top}", "share": "${absent}"}, "top": "x"})
    with pytest.raises(SettingError, match=r"^k\.share: Interpolation key 'absent' not found"):
        read_node(Outer, config.k, "k")
    del config.k.share
    assert read_node(Outer, config.k, "k").name == "x"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def sections(schema: type) -> list[type]:
    below = [section_of(kind) for kind in types_of(schema).values()]
    return [schema, *(each for section in below if section for each in sections(section))]


@given(st.sampled_from(sections(BuildSettings)), st.data())
def test_whatever_is_given_is_read_or_refused_by_its_key(schema: type, data: st.DataObject) -> None:
    """Every section of the largest schema: one key with any value is a value of its type, or an error that names it."""
    name = data.draw(st.sampled_from([entry.name for entry in fields(schema)]))
    value = data.draw(ANYTHING)
    try:
        made = read(schema, {name: value}, "top")
    except SettingError as error:
        key: str | None = error.key
    else:
        key = None
        assert read(schema, {name: getattr(made, name)}, "top") == made
    assert key is None or key == "top" or key.startswith("top.")
