"""What a user names by import path: `package.module:NAME` or `path/to/file.py:NAME`.

Loaded and checked once, at start. Every error names the key, the path, what was found and what is expected. A file is
run as Python, like any module that is imported: name only files you trust.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml  # type: ignore[import-untyped]

_FORM = re.compile(r"(?P<module>[^:\n]+):(?P<name>[A-Za-z_]\w*)")
_NAMES_SHOWN = 12


class ImportPathError(ValueError):
    """What a key names cannot be used. `key`, `path`, `reason` and `remedy` are also there one by one."""

    def __init__(self, key: str, path: str, reason: str, remedy: str) -> None:
        super().__init__(f"{key}={path}: {reason}. Remedy: {remedy}")
        self.key, self.path, self.reason, self.remedy = key, path, reason, remedy

    def __reduce__(self) -> tuple[Any, ...]:  # crosses process borders (Ray)
        return type(self), (self.key, self.path, self.reason, self.remedy)


def is_import_path(text: str) -> bool:
    """Tell an import path from a name of the package's own or an address.

    >>> is_import_path("my_oracle.py:MyOracle"), is_import_path("annotations"), is_import_path("http://host:80/v1")
    (True, False, False)
    """
    return _FORM.fullmatch(text) is not None


def load(path: str, key: str) -> Any:
    """Return what `path` names; `key` is the setting or option it stands at. Raises ImportPathError."""
    form = _FORM.fullmatch(path)
    if form is None:
        raise ImportPathError(key, path, "this is no import path", "write package.module:NAME or path/to/file.py:NAME")
    module, name = _module(form["module"], key, path), form["name"]
    if not hasattr(module, name):
        defined = [each for each in vars(module) if not each.startswith("_")]
        names = ", ".join(defined[:_NAMES_SHOWN]) + (", …" if len(defined) > _NAMES_SHOWN else "")
        raise ImportPathError(
            key, path, f"{module.__name__} has no {name}; it has {names or 'no names'}", "correct NAME"
        )
    return getattr(module, name)


def load_function(path: str, key: str, parameters: Sequence[str]) -> Callable[..., Any]:
    """Return a function that can be called with one positional argument for each of `parameters`."""
    function = load(path, key)
    wanted = f"a function of ({', '.join(parameters)})"
    if inspect.isclass(function) or not callable(function):
        raise ImportPathError(key, path, f"it is {_kind(function)}, not {wanted}", f"name {wanted}")
    if not _takes(function, *parameters):
        found = f"it takes {inspect.signature(function)}, not ({', '.join(parameters)})"
        raise ImportPathError(key, path, found, f"name {wanted}")
    return function


def load_instance(path: str, key: str, protocol: type, settings: Mapping[str, Any] | None = None) -> Any:
    """Make what a class or a function without positional arguments gives, checked against a Protocol.

    Args:
        protocol: what the instance has to be; its methods' names, parameters and `async` are compared.
        settings: keyword arguments.
    """
    made = make_of(path, key, protocol, settings)
    try:
        instance = made(**(settings or {}))
    except Exception as error:  # the user's own code
        reason = f"it raised {type(error).__name__}: {error}"
        raise ImportPathError(key, path, reason, f"correct it or its settings {dict(settings or {})}") from error
    _check_protocol(instance, key, path, protocol)
    return instance


def make_of(path: str, key: str, protocol: type, settings: Mapping[str, Any] | None = None) -> Callable[..., Any]:
    """Return the class or function of `load_instance`, checked as far as is possible without calling it."""
    make = load(path, key)
    if not callable(make):
        wanted = f"a class, or a function that returns one {protocol.__name__}"
        raise ImportPathError(key, path, f"it is {_kind(make)}, not {wanted}", f"name {wanted}")
    given = dict(settings or {})
    if not _takes(make, **given):
        reason = f"it takes {inspect.signature(make)}, and the settings given are {', '.join(given) or 'none'}"
        raise ImportPathError(key, path, reason, "give the settings that it takes, by their names")
    if inspect.isclass(make):
        _check_protocol(make, key, path, protocol)
    return make


def read_arguments(file: Path) -> dict[str, Any]:
    """Read the keyword arguments of a class of the user's from a YAML mapping. Raises ValueError naming the file."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{file}: not readable as YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ValueError(f"{file}: a mapping of keyword arguments is needed, not {content!r:.100}")
    return content


def file_digest(path: str) -> str | None:
    """Return the SHA-256 of the file an import path names; None for a module of a package."""
    form = _FORM.fullmatch(path)
    if form is None or not form["module"].endswith(".py"):
        return None
    return hashlib.sha256(Path(form["module"]).expanduser().read_bytes()).hexdigest()


def _module(module: str, key: str, path: str) -> ModuleType:
    if module.endswith(".py"):
        file = Path(module).expanduser().resolve()
        if not file.is_file():
            raise ImportPathError(
                key, path, f"there is no file {file}", f"name a file; relative paths start at {os.getcwd()}"
            )
        return _of_file(file, key, path)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        own = error.name is not None and (module == error.name or module.startswith(f"{error.name}."))
        reason = f"there is no module {module}" if own else f"{module} imports {error.name}, which is not installed"
        remedy = "install it, or add its directory to PYTHONPATH; for a file write path/to/file.py:NAME"
        raise ImportPathError(key, path, reason, remedy) from error
    except (Exception, SystemExit) as error:
        raise _failed(error, key, path) from error


def _of_file(file: Path, key: str, path: str) -> ModuleType:
    """Run a file once a process; it is found again under a name of its own, as pickle and dataclasses need."""
    name = f"medeyes_import_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _failed(error, key, path) from error
    return module


def _failed(error: BaseException, key: str, path: str) -> ImportPathError:
    reason = f"importing it raised {type(error).__name__}: {error}"
    return ImportPathError(key, path, reason, "correct the module; `python -c 'import …'` shows the whole traceback")


def _check_protocol(found: Any, key: str, path: str, protocol: type) -> None:
    """Compare a class or an instance with a Protocol. An attribute may be set by a class's __init__."""
    is_class = inspect.isclass(found)
    needs = f"{protocol.__name__} ({protocol.__module__}) needs"
    for name, wanted in vars(protocol).items():
        if name.startswith("_") or not inspect.isfunction(wanted):
            continue
        method = getattr(found, name, None)
        remedy = f"define {'async ' * inspect.iscoroutinefunction(wanted)}def {name}{inspect.signature(wanted)}"
        if method is None or not callable(method):
            raise ImportPathError(key, path, f"{needs} the method {name}, and it has none", remedy)
        parameters = list(inspect.signature(wanted).parameters)[0 if is_class else 1 :]
        if not _takes(method, *parameters):
            reason = f"{name} takes {inspect.signature(method)}, and {needs} ({', '.join(parameters)})"
            raise ImportPathError(key, path, reason, remedy)
        if inspect.iscoroutinefunction(wanted) != inspect.iscoroutinefunction(method):
            kind = "async" if inspect.iscoroutinefunction(wanted) else "a plain def"
            raise ImportPathError(key, path, f"{needs} {name} to be {kind}, and it is not", remedy)
    if is_class:
        return
    for name in inspect.get_annotations(protocol):
        if not hasattr(found, name):
            raise ImportPathError(key, path, f"{needs} the attribute {name}, and it has none", f"set {name}")


def _takes(function: Callable[..., Any], *positional: Any, **named: Any) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # built in C, without a signature
        return True
    try:
        signature.bind(*positional, **named)
    except TypeError:
        return False
    return True


def _kind(found: Any) -> str:
    return f"the class {found.__name__}" if inspect.isclass(found) else f"of type {type(found).__name__}"
