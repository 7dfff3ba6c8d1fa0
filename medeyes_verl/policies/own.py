"""A policy of the user's own, named by import path: a class, or a function that returns one, with `next_turn`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medeyes_verl.gaze.rollout import Completion, Policy, PolicyExhaustedError
from medeyes_verl.import_path import load_instance
from medeyes_verl.policies.chat_conversation import ChatConversation


class OwnPolicyError(RuntimeError):
    """The user's policy raised, or returned what is no turn: the evaluation stops, finished episodes are kept."""


class OwnPolicy:
    """Made once; asked for the turns of all episodes, many of them at once. The conversation says which episode it is.

    Raises ImportPathError where the path cannot be loaded or names no policy.
    """

    def __init__(self, path: str, key: str, settings: Mapping[str, Any]) -> None:
        self._path = path
        self._policy: Policy[ChatConversation] = load_instance(path, key, Policy, settings)

    async def next_turn(self, conversation: ChatConversation) -> Completion:
        try:
            completion = await self._policy.next_turn(conversation)
        except PolicyExhaustedError:
            raise
        except Exception as error:  # the user's own code
            raise OwnPolicyError(f"policy {self._path} raised {type(error).__name__}: {error}") from error
        if not isinstance(completion, Completion):
            raise OwnPolicyError(f"policy {self._path} returned {completion!r:.100}, which is no Completion")
        return completion
