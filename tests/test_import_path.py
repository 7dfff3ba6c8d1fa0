"""An import path is loaded once and checked at start; whatever is wrong is said with key, path, reason and remedy."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from medeyes_verl.import_path import ImportPathError, file_digest, load, load_function, load_instance, make_of

CODE = """
import sys
from dataclasses import dataclass

number = 3

def two(a, b): ...
def three(a, b, c): ...
async def asynchronous(a, b): ...
def anything(*values, **named): ...
def takes_nothing(): return number

@dataclass
class Good:
    name: str = "good"
    def size(self, path): return 1
    async def ask(self, question): return 2

class NoName:
    def size(self, path): ...
    async def ask(self, question): ...

class NoMethod:
    name = "x"
    def size(self, path): ...

class Plain(Good):
    def ask(self, question): ...

class Few(Good):
    async def ask(self): ...

class Raises(Good):
    def __init__(self): raise OSError("no weights")
"""


class Wanted(Protocol):
    name: str

    def size(self, path: str) -> int: ...

    async def ask(self, question: str) -> int: ...


@pytest.fixture
def code(tmp_path: Path) -> Callable[[str], str]:
    (tmp_path / "own.py").write_text(CODE)
    return lambda name: f"{tmp_path / 'own.py'}:{name}"


def test_a_file_and_a_module_are_loaded_once(code: Callable[[str], str]) -> None:
    assert load(code("number"), "key") == 3
    assert load(code("Good"), "key") is load(code("Good"), "other"), "one class a process, so that isinstance holds"
    assert load("medeyes_verl.gaze.geometry:Box", "key").__name__ == "Box"
    made = load_instance(code("Good"), "key", Wanted, {"name": "mine"})
    assert pickle.loads(pickle.dumps(made)) == made
    assert file_digest(code("Good")) != file_digest("medeyes_verl.gaze.geometry:Box") is None


@pytest.mark.parametrize("name", ["two", "asynchronous", "anything"])
def test_functions_that_take_the_arguments_are_taken(code: Callable[[str], str], name: str) -> None:
    assert callable(load_function(code(name), "key", ("a", "b")))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("own.py", "no import path.*write package.module:NAME"),
        ("own.py:a b", "no import path"),
        ("absent.py:x", "there is no file .*absent.py.*relative paths start at"),
        ("absent_package.module:x", "there is no module absent_package.module.*PYTHONPATH"),
        ("medeyes_verl.gaze.geometry:Bax", "has no Bax; it has .*Box"),
    ],
)
def test_what_is_not_there_is_named(path: str, words: str) -> None:
    with pytest.raises(ImportPathError, match=f"some.key={path}: .*{words}"):
        load(path, "some.key")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def f(:", "importing it raised SyntaxError"),
        ("1 / 0", "importing it raised ZeroDivisionError"),
        ("raise SystemExit(3)", "importing it raised SystemExit"),
        ("import not_installed_anywhere", "ModuleNotFoundError: No module named 'not_installed_anywhere'"),
    ],
)
def test_a_module_that_fails_is_named_and_not_kept(tmp_path: Path, code: str, words: str) -> None:
    file = tmp_path / "broken.py"
    file.write_text(code)
    with pytest.raises(ImportPathError, match=words):
        load(f"{file}:f", "key")
    file.write_text("f = 1")
    assert load(f"{file}:f", "key") == 1


def test_a_function_with_another_signature_is_refused(code: Callable[[str], str]) -> None:
    for name, words in (
        ("three", r"it takes \(a, b, c\), not \(trace, row\)"),
        ("number", r"of type int, not a function of \(trace, row\)"),
        ("Good", "it is the class Good"),
    ):
        with pytest.raises(ImportPathError, match=words):
            load_function(code(name), "key", ("trace", "row"))


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("Good", {"colour": 1}, "settings given are colour"),
        ("NoName", {}, "needs the attribute name"),
        ("NoMethod", {}, r"needs the method ask.*define async def ask\(self, question: str\)"),
        ("Plain", {}, "needs ask to be async, and it is not"),
        ("Few", {}, r"ask takes \(self\), and Wanted .* needs \(self, question\)"),
        ("Raises", {}, "it raised OSError: no weights"),
        ("takes_nothing", {}, "needs the method size"),
        ("number", {}, "it is of type int, not a class"),
    ],
)
def test_an_instance_that_does_not_fit_its_protocol_is_refused(
    code: Callable[[str], str], name: str, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ImportPathError, match=words):
        load_instance(code(name), "key", Wanted, settings)


def test_a_class_is_checked_without_being_made(code: Callable[[str], str]) -> None:
    assert make_of(code("Raises"), "key", Wanted).__name__ == "Raises", "loading a model twice would be too much"
    with pytest.raises(ImportPathError, match="async"):
        make_of(code("Plain"), "key", Wanted)


def test_the_error_crosses_process_borders() -> None:
    error = ImportPathError("k", "p", "r", "m")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "k=p: r. Remedy: m"
