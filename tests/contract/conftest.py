"""Contract tests read veRL as published: without the patches that this project may have put on a module."""

import importlib.util
from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture
def pristine() -> Callable[[str], ModuleType]:
    """A function that gives a second, unpatched copy of a veRL module."""

    def load(name: str) -> ModuleType:
        installed = importlib.util.find_spec(name)
        spec = importlib.util.spec_from_file_location("pristine_" + name.replace(".", "_"), installed.origin)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
