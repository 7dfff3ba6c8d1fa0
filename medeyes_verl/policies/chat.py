"""A policy behind an OpenAI-compatible endpoint: what is asked of it, and how its turns are drawn."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from medeyes_verl.gaze.grammar import STOP_STRINGS
from medeyes_verl.gaze.rollout import Completion
from medeyes_verl.policies.chat_conversation import ChatConversation
from medeyes_verl.policies.client import ChatClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How turns are drawn. The defaults are greedy, as evaluations are reported."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    """Sample i of a question has a seed of its own, made of this, the question's id and i."""

    def __post_init__(self) -> None:
        if not (0 <= self.temperature <= 10 and 0 < self.top_p <= 1):
            raise ValueError(f"a temperature from 0 to 10 and a top_p above 0, at most 1, are needed, not {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """What every request of a run has in common."""

    model: str
    """The name under which the endpoint serves it."""
    turn_tokens: int
    """Most tokens of one turn."""
    sampling: Sampling
    extensions: bool = True
    """Send the fields that vLLM and SGLang understand beyond OpenAI's own."""
    never: Sequence[int] = ()
    """Token ids that must not be written, where they are known."""

    def body(self, messages: Sequence[Mapping[str, Any]], max_tokens: int, key: str) -> dict[str, Any]:
        """One request. All of the sampling is said, since a server may have defaults of its own for a model."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "max_tokens": max_tokens,
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "stop": list(STOP_STRINGS),
        }
        if self.sampling.temperature > 0:
            body["seed"] = zlib.crc32(f"{self.sampling.seed}/{key}".encode()) & 0x7FFFFFFF
        if self.never:
            body["logit_bias"] = {str(token): -100 for token in self.never}
        if self.extensions:
            body |= {
                "top_k": -1,
                "repetition_penalty": 1.0,
                "include_stop_str_in_output": True,
                "return_token_ids": True,
                "skip_special_tokens": True,
            }
        return body


class ChatPolicy:
    """A model behind a chat endpoint. Raises EndpointError and RequestRefusedError from `next_turn`."""

    def __init__(self, client: ChatClient, requests: Requests, key: str) -> None:
        self._client = client
        self._requests = requests
        self._key = key

    async def next_turn(self, conversation: ChatConversation) -> Completion:
        limit = min(self._requests.turn_tokens, conversation.room)
        messages = conversation.messages
        completion = await self._client.chat(self._requests.body(messages, limit, f"{self._key}/{len(messages)}"))
        if self._requests.extensions:
            return completion
        return replace(completion, text=with_stop_string(completion.text))


def with_stop_string(text: str) -> str:
    """The text with the stop string that a plain OpenAI endpoint leaves off: an open block at its end is closed."""
    for stop in STOP_STRINGS:
        if text.rfind(stop.replace("/", "")) > text.rfind(stop):
            return text + stop
    return text
