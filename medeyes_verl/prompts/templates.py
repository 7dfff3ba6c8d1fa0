"""Prompt templates: jinja2 in a sandbox, the user's files before the package's, every placeholder checked at start.

A folder holds any of the files in `files.py`, in UTF-8 and in any language. Values are never read as templates, so a
question or a reply cannot reach anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from medeyes_verl.prompts.files import PHRASES, TEXTS, Placeholders

DEFAULT = Path(__file__).parent / "default"
MAX_FILE_BYTES = 1_000_000

_jinja = ImmutableSandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)

Phrases = Mapping[str, tuple[Template, ...]]
"""The wordings of a file by name."""


class PromptError(ValueError):
    """A prompt folder cannot be used; the message names the file, what is wrong and what to do."""


def check_folder(folder: str | None, file: str = "", unused: bool = False) -> None:
    """Read and try every file of a folder. Raises PromptError; None, the package's own, is always usable.

    Where `unused` says that `file` would not be read, a folder that holds it is refused.
    """
    if folder is None:
        return
    path = Path(folder).expanduser()
    known = sorted([*TEXTS, *PHRASES])
    if not path.is_dir():
        raise PromptError(f"{path}: there is no such folder; name one with any of {', '.join(known)}")
    files = sorted(each.name for each in path.iterdir() if not each.name.startswith("."))
    if unknown := [name for name in files if name not in known and not name.lower().startswith("readme")]:
        raise PromptError(f"{path}: {', '.join(unknown)} is no file of a prompt folder; known are {', '.join(known)}")
    if not any(name in known for name in files):
        raise PromptError(f"{path} holds none of {', '.join(known)}: copy one from {DEFAULT} and change it")
    if unused and file in files:
        raise PromptError(
            f"{path / file} would not be read: these settings use no such words; remove it, or change them"
        )
    for name in known:
        text(folder, name) if name in TEXTS else phrases(folder, name)


@lru_cache(maxsize=64)
def text(folder: str | None, file: str) -> Template:
    """The template of a file; the package's own where the folder does not have it. Raises PromptError."""
    path = _path(folder, file)
    return _template(_content(path), TEXTS[file], str(path))


@lru_cache(maxsize=64)
def phrases(folder: str | None, file: str) -> Phrases:
    """The wordings of a file; those that the user's file leaves out are the package's. Raises PromptError."""
    wanted = PHRASES[file]
    found = dict(_wordings(DEFAULT / file, wanted))
    path = _path(folder, file)
    if path.parent != DEFAULT:
        found |= dict(_wordings(path, wanted))
    return found


def digest(folder: str | None) -> str | None:
    """SHA-256 of what a folder holds; None for the package's own."""
    if folder is None:
        return None
    found = hashlib.sha256()
    for name in sorted([*TEXTS, *PHRASES]):
        path = _path(folder, name)
        if path.parent != DEFAULT:
            found.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def _path(folder: str | None, file: str) -> Path:
    own = None if folder is None else Path(folder).expanduser() / file
    return own if own is not None and own.is_file() else DEFAULT / file


def _content(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise PromptError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PromptError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error


def _wordings(path: Path, wanted: Mapping[str, Placeholders]) -> Iterator[tuple[str, tuple[Template, ...]]]:
    try:
        content = yaml.safe_load(_content(path))
    except yaml.YAMLError as error:
        raise PromptError(f"{path}: not readable as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise PromptError(f"{path}: a mapping from names to wordings is needed")
    for name, wordings in content.items():
        if name not in wanted:
            raise PromptError(f"{path}: unknown name {name!r}; known are {', '.join(wanted)}")
        listed = [wordings] if isinstance(wordings, str) else wordings
        if not isinstance(listed, list) or not listed or not all(isinstance(each, str) and each for each in listed):
            raise PromptError(f"{path}: {name} must be a text or a list of texts, not {wordings!r:.100}")
        yield name, tuple(_template(each, wanted[name], f"{path}: {name}") for each in listed)


def _template(source: str, placeholders: Placeholders, where: str) -> Template:
    """Compile one template, check its placeholders and try it. Raises PromptError."""
    try:
        used = meta.find_undeclared_variables(_jinja.parse(source))
    except TemplateSyntaxError as error:
        raise PromptError(f"{where}, line {error.lineno}: {error.message}") from error
    if unknown := sorted(used - placeholders.known):
        known = ", ".join(sorted(placeholders.known)) or "none"
        raise PromptError(f"{where}: unknown placeholder {', '.join(unknown)}; known are {known}")
    if missing := sorted(placeholders.required - used):
        raise PromptError(f"{where}: the placeholder {{{{ {' }}, {{ '.join(missing)} }}}} is missing; write it")
    template = _jinja.from_string(source)
    for sample in placeholders.samples:
        render(template, where, sample)
    return template


def render(template: Template, where: str, values: Mapping[str, Any]) -> str:
    """Fill in a template. Raises PromptError naming `where`."""
    try:
        return template.render(values)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise PromptError(f"{where}: {type(error).__name__}: {error}") from error
