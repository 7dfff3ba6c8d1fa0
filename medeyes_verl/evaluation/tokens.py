"""Counting an episode's tokens as training counts them, while a server does the tokenising.

Training cuts an episode off when its response reaches `response_length` tokens, observations included. Where the
policy's processor is at hand, `TokenLedger` keeps the very tokens training would feed, with the same
`Conversation`, and compares them with what the server says it was fed. Elsewhere `UsageLedger` goes by the counts
in the server's answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from PIL import Image

from medeyes_verl.evaluation.client import Reply
from medeyes_verl.gaze.conversation import Conversation
from medeyes_verl.gaze.episode import Observation
from medeyes_verl.gaze.policy_tokens import PolicyTokens

Message = Mapping[str, Any]
"""As chat templates take it: role, and a text or a list of parts {"type": "image"} and {"type": "text", "text"}."""


class Ledger(Protocol):
    """What is left of an episode's budget."""

    @property
    def room(self) -> int:
        """Tokens the response may still grow."""

    def take(self, reply: Reply) -> str:
        """Enter a turn of the model; its text without special tokens at the end."""

    def observe(self, observation: Observation) -> bool:
        """Enter an observation; False when no token of the model would fit after it."""

    @property
    def differing(self) -> int | None:
        """Prompts of the server that were not those of training; None when the server does not tell."""


def load_tokens(model: str) -> PolicyTokens:
    """From a model's folder or Hugging Face name. Raises ValueError when it has no vision-language processor."""
    from transformers import AutoProcessor

    try:
        return PolicyTokens(AutoProcessor.from_pretrained(model))
    except (OSError, ValueError, ImportError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise ValueError(f"{model} has no vision-language processor that could be loaded: {reason}") from error


class TokenLedger:
    """The exact ledger: the tokens of training, kept by the class that keeps them there."""

    def __init__(
        self, tokens: PolicyTokens, messages: Sequence[Message], views: Sequence[Image.Image], response_length: int
    ) -> None:
        self._tokens = tokens
        self._conversation = Conversation(tokens, messages, views, response_length)
        self.differing: int | None = None

    @property
    def prompt_length(self) -> int:
        """Tokens of the prompt, its images included."""
        return len(self._conversation.prompt_ids)

    @property
    def room(self) -> int:
        return self._conversation.room

    def take(self, reply: Reply) -> str:
        conversation = self._conversation
        if reply.prompt_ids is not None:
            same = list(reply.prompt_ids) == conversation.prompt_ids + conversation.response_ids
            self.differing = (self.differing or 0) + (not same)
        ids = reply.token_ids
        if ids is None:
            ids = tuple(self._tokens.encode(reply.text))
        conversation.add_turn(ids, [0.0] * len(ids))
        return self._tokens.text(ids)

    def observe(self, observation: Observation) -> bool:
        return self._conversation.add_observation(observation)


class UsageLedger:
    """By the server's own counts, where nothing better is known.

    An observation's tokens are learnt with the answer after it, so the last turn may be given more than training
    would have left it, by as much.
    """

    differing: int | None = None

    def __init__(self, response_length: int) -> None:
        self._response_length = response_length
        self._prompt: int | None = None
        self._total = 0

    @property
    def room(self) -> int:
        return self._response_length - (self._total - (self._prompt or 0))

    def take(self, reply: Reply) -> str:
        if self._prompt is None:
            self._prompt = reply.prompt_tokens
        self._total = reply.prompt_tokens + reply.completion_tokens
        return reply.text

    def observe(self, observation: Observation) -> bool:
        return self.room > 0
