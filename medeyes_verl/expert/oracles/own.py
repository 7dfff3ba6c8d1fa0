"""An oracle of the user's own, named by import path: a class with the methods of `Oracle`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from medeyes_verl.expert.oracles.protocol import (
    Answer,
    Assessment,
    Candidate,
    Finding,
    Located,
    Oracle,
    OracleDownError,
    OracleError,
)
from medeyes_verl.expert.question import Question
from medeyes_verl.gaze.geometry import Box
from medeyes_verl.import_path import load_instance, make_of

Told = TypeVar("Told")


def oracle_maker(path: str, key: str, settings: Mapping[str, Any]) -> Callable[[], Oracle]:
    """Check an import path now and return what makes its oracle; that travels to other processes.

    Args:
        path: package.module:NAME or path/to/file.py:NAME.
        key: the option or setting it stands at, for errors.
        settings: keyword arguments of the class.

    Raises:
        ImportPathError: it cannot be loaded, or is no oracle.
    """
    make_of(path, key, Oracle, settings)
    return partial(OwnOracle, path, key, dict(settings))


class OwnOracle:
    """Asks the user's oracle; what it raises or returns by mistake costs one question, which is counted and named."""

    def __init__(self, path: str, key: str, settings: Mapping[str, Any]) -> None:
        self._oracle: Oracle = load_instance(path, key, Oracle, settings)
        self.name = str(self._oracle.name)

    async def locate(self, question: Question, findings: Sequence[Finding]) -> Located:
        return await self._told(self._oracle.locate(question, findings), Located)

    async def assess(self, question: Question, candidate: Candidate, gaze: Box) -> Assessment:
        return await self._told(self._oracle.assess(question, candidate, gaze), Assessment)

    async def answer(self, question: Question, findings: Sequence[Finding]) -> Answer:
        return await self._told(self._oracle.answer(question, findings), Answer)

    async def close(self) -> None:
        await self._oracle.close()

    async def _told(self, asked: Awaitable[Told], kind: type[Told]) -> Told:
        try:
            told = await asked
        except (OracleError, OracleDownError):
            raise
        except Exception as error:  # the user's own code
            raise OracleError(f"oracle {self.name}: {type(error).__name__}: {error}") from error
        if not isinstance(told, kind):
            raise OracleError(f"oracle {self.name} returned {told!r:.100}, which is no {kind.__name__}")
        return told
