"""Check a documented command without running it: its program and file, its options, a run's whole configuration."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import typer
from hydra import compose, initialize_config_module
from omegaconf import DictConfig
from typer.main import get_command

from shell_blocks import PROGRAMS, ROOT

PLACEHOLDERS = {"RECIPE": "qwen2_5_vl_3b", "NAME": "qwen2_5_vl_3b", "BENCHMARK": "vqa-rad"}
"""Words that stand for one of several values that are checked."""
_ASSIGNMENT = re.compile(r"^[A-Za-z_]\w*=")


class DocsError(AssertionError):
    """A documented command that no user can run."""


def check_command(text: str, *, whole: bool = True) -> None:
    """Check a command line; where it is not the `whole` of it, required options may be missing.

    Raises DocsError for an unknown program, file, command, option or key.
    """
    words = shlex.split(text, comments=True)
    while words and (_ASSIGNMENT.match(words[0]) or words[0] == "export"):
        words = words[1:]
    if not words or words[0] == "cd":
        return
    program, *rest = words
    program = program.rsplit("/", 1)[-1]
    if program not in PROGRAMS:
        raise DocsError(f"unknown program {program!r} in: {text}")
    if program == "medeyes-verl":
        _check_options(_app(), [PLACEHOLDERS.get(word, word) for word in rest], text, whole)
    elif program in ("python", "python3"):
        _check_python(rest, text, whole)
    elif program == "bash":
        _check_script(rest, text)
    elif program == "pip":
        _check_pip(rest, text)


def check_run(overrides: list[str]) -> DictConfig:
    """Compose main_ppo's configuration and check it as veRL and this plugin do. Raises DocsError."""
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import omega_conf_to_dataclass, validate_config

    from medeyes_verl.config.settings import rollout_settings
    from medeyes_verl.plugin.objective import dual_stream_settings
    from medeyes_verl.plugin.reward_manager import reward_settings

    told = [re.sub(r"\b(RECIPE|NAME)\b", lambda word: PLACEHOLDERS[word[1]], each) for each in overrides]
    try:
        with initialize_config_module(config_module="verl.trainer.config", version_base=None):
            config = compose("ppo_trainer", overrides=told)
        validate_config(config, need_reference_policy(config), need_critic(config))
        omega_conf_to_dataclass(config.actor_rollout_ref.actor)
        omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
        if any("medeyes=" in each.partition(".")[0] for each in told):
            rollout_settings(config)
            reward_settings(config)
        dual_stream_settings(config.algorithm)
    except Exception as error:  # hydra's, omegaconf's, veRL's and our own kinds
        raise DocsError(f"main_ppo {' '.join(told)}: {type(error).__name__}: {error}") from error
    return config


def _app() -> typer.Typer:
    from medeyes_verl.cli.app import app

    return app


def _check_python(words: list[str], text: str, whole: bool) -> None:
    if words[:1] == ["-m"]:
        module, *rest = words[1:]
        if module == "verl.trainer.main_ppo":
            check_run(rest)
        elif module == "medeyes_verl.cli.app":
            _check_options(_app(), rest, text, whole)
        elif importlib.util.find_spec(module) is None:
            raise DocsError(f"no module {module!r} for: {text}")
    elif words and words[0].endswith(".py"):
        app = _script_app(_file(words[0], text))
        if app is not None:
            _check_options(app, words[1:], text, whole)
    else:
        raise DocsError(f"neither a module nor a script: {text}")


def _check_script(words: list[str], text: str) -> None:
    body = _file(words[0], text).read_text(encoding="utf-8") if words else ""
    if not re.search(r"^\s*--[\w-]+\)", body, re.MULTILINE):
        return  # no options of its own: all is handed on
    for word in words[1:]:
        if word.startswith("--") and f"{word})" not in body:
            raise DocsError(f"{words[0]} has no option {word}: {text}")


def _check_pip(words: list[str], text: str) -> None:
    if words[:1] != ["install"]:
        raise DocsError(f"only pip install is known: {text}")
    for extras in re.findall(r"\[([\w,-]+)\]", " ".join(words)):
        for extra in extras.split(","):
            declared = (ROOT / "setup.py").read_text() + (ROOT / "pyproject.toml").read_text()
            if not re.search(rf'^\s*"?{re.escape(extra)}"?\s*[:=] ?\[', declared, re.MULTILINE):
                raise DocsError(f"no extra {extra!r} for: {text}")


def _check_options(app: typer.Typer, words: list[str], text: str, whole: bool) -> None:
    command: Any = get_command(app)
    while hasattr(command, "list_commands") and words and not words[0].startswith("-"):
        child = command.get_command(command.context_class(command), words[0])
        if child is None:
            raise DocsError(f"no command {words[0]!r}: {text}")
        command, words = child, words[1:]
    if words == ["--help"]:
        return
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            _parse(command, words, text, whole)
        finally:
            os.chdir(before)


def _parse(command: Any, words: list[str], text: str, whole: bool) -> None:
    """Parse as the command would, without calling it; a file that it wants to see is made."""
    while True:
        try:
            command.make_context("documented", list(words))
            return
        except Exception as error:  # click's own kinds, which typer carries along
            message = str(getattr(error, "message", error))
            absent = re.search(r"'([^'/][^']*)' does not exist", message)
            if not whole and type(error).__name__ == "MissingParameter":
                return
            if absent is None or Path(absent[1]).exists():
                raise DocsError(f"{message}: {text}") from error
            Path(absent[1]).parent.mkdir(parents=True, exist_ok=True)
            Path(absent[1]).touch()


def _script_app(path: Path) -> typer.Typer | None:
    """The command line of a script; None for one without."""
    spec = importlib.util.spec_from_file_location(f"documented_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise DocsError(f"{path} is not a Python file")
    source = path.read_text(encoding="utf-8")
    if not re.search(r"\b(app|typer)\b", source):
        return None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if hasattr(module, "app"):
        return module.app
    command = re.search(r"typer\.run\((\w+)\)", source)
    if command is None:
        return None
    made = typer.Typer()
    made.command()(getattr(module, command[1]))
    return made


def _file(name: str, text: str) -> Path:
    path = ROOT / name
    if not path.is_file():
        raise DocsError(f"no file {name}: {text}")
    return path
