"""Who writes the turns of an episode: a model behind an endpoint, or texts that were written before.

A writer sees observations and writes turns; what a turn means is the episode's to say.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from medeyes_verl.evaluation.client import ChatClient, Reply
from medeyes_verl.evaluation.tokens import Ledger, Message, TokenLedger
from medeyes_verl.gaze.episode import Observation
from medeyes_verl.gaze.grammar import STOP_STRINGS
from medeyes_verl.gaze.policy_tokens import PolicyTokens


class OutOfTokensError(Exception):
    """There is nothing left to write with: the episode is truncated."""


class Writer(Protocol):
    """The author of one episode's turns."""

    tokens: int
    """Written so far."""

    async def write(self) -> str:
        """The next turn. Raises OutOfTokensError."""

    def observe(self, observation: Observation) -> None:
        """Take note of an observation. Raises OutOfTokensError when no turn could follow it."""


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


class ChatWriter:
    """A model behind a chat endpoint, worded turn by turn exactly as the agent loop words it for training."""

    def __init__(
        self,
        client: ChatClient,
        requests: Requests,
        ledger: Ledger,
        messages: Sequence[Message],
        views: Sequence[Image.Image],
        key: str,
    ) -> None:
        self._client = client
        self._requests = requests
        self.ledger = ledger
        self._messages = chat_messages(messages, views)
        self._key = key
        self.tokens = 0

    async def write(self) -> str:
        limit = min(self._requests.turn_tokens, self.ledger.room)
        if limit < 1:
            raise OutOfTokensError
        turn = len(self._messages)
        reply = await self._client.chat(self._requests.body(self._messages, limit, f"{self._key}/{turn}"))
        self.tokens += reply.completion_tokens
        text = self.ledger.take(reply)
        if not self._requests.extensions:
            text = with_stop_string(text)
        self._messages.append({"role": "assistant", "content": text})
        return text

    def observe(self, observation: Observation) -> None:
        if not self.ledger.observe(observation):
            raise OutOfTokensError
        self._messages.append({"role": "user", "content": feedback(observation)})


class ScriptedWriter:
    """Turns that were written before: an expert's, or those of a finished validation."""

    def __init__(self, turns: Iterable[str]) -> None:
        self._turns = iter(turns)
        self.tokens = 0

    async def write(self) -> str:
        try:
            return next(self._turns)
        except StopIteration:
            raise OutOfTokensError from None

    def observe(self, observation: Observation) -> None:
        pass


class BudgetedWriter:
    """Turns that were written before, under the token budget of training: what does not fit is cut off."""

    def __init__(self, turns: Iterable[str], tokens: PolicyTokens, ledger: TokenLedger) -> None:
        self._turns = iter(turns)
        self._tokens = tokens
        self._ledger = ledger
        self.tokens = 0

    async def write(self) -> str:
        text = next(self._turns, None)
        if text is None or self._ledger.room < 1:
            raise OutOfTokensError
        ids = tuple(self._tokens.encode(text)[: self._ledger.room])
        self.tokens += len(ids)
        return self._ledger.take(Reply(text, ids, None, 0, len(ids)))

    def observe(self, observation: Observation) -> None:
        if not self._ledger.observe(observation):
            raise OutOfTokensError


def chat_messages(messages: Sequence[Message], views: Sequence[Image.Image]) -> list[dict[str, Any]]:
    """A chat template's messages as an endpoint takes them, each picture's place filled with the picture."""
    waiting = iter(views)
    return [
        {
            "role": message["role"],
            "content": message["content"]
            if isinstance(message["content"], str)
            else [_picture(next(waiting)) if part["type"] == "image" else part for part in message["content"]],
        }
        for message in messages
    ]


def feedback(observation: Observation) -> list[dict[str, Any]]:
    """An observation as the parts of a user's turn: <feedback>, the crop, the words, </feedback>."""
    if observation.picture is None:
        return [{"type": "text", "text": f"<feedback>{observation.text}</feedback>"}]
    return [
        {"type": "text", "text": "<feedback>"},
        _picture(observation.picture),
        {"type": "text", "text": f"{observation.text}</feedback>"},
    ]


def with_stop_string(text: str) -> str:
    """The text with the stop string that a plain OpenAI endpoint leaves off: an open block at its end is closed."""
    for stop in STOP_STRINGS:
        if text.rfind(stop.replace("/", "")) > text.rfind(stop):
            return text + stop
    return text


def _picture(picture: Image.Image) -> dict[str, Any]:
    """Lossless, so that the model sees the pixels of training."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"type": "image_url", "image_url": {"url": url}}
