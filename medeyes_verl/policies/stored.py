"""Turns that were written before: an expert's stored trajectory, a finished validation, a script."""

from __future__ import annotations

from collections.abc import Iterable

from medeyes_verl.gaze.episode import Observation
from medeyes_verl.gaze.rollout import Budgeted, Completion, PolicyExhaustedError


class StoredPolicy:
    """A policy that reads its turns from a list; its log-probabilities are 0, since π_expert = 1 (MedEyes)."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = iter(texts)

    async def next_turn(self, conversation: Budgeted) -> Completion:
        try:
            return Completion(next(self._texts))
        except StopIteration:
            raise PolicyExhaustedError from None


class Unbudgeted:
    """A conversation without tokens, for turns whose budget was applied when they were written."""

    room = 1

    def take(self, completion: Completion) -> tuple[str, int]:
        return completion.text, completion.completion_tokens

    def add_observation(self, observation: Observation) -> bool:
        return True
