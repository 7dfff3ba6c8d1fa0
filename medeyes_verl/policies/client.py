"""One chat request to an OpenAI-compatible endpoint, tried again while that can help.

Connection errors, timeouts and a busy or failing server are tried again with growing pauses; when they last, the
run ends with `EndpointError` and can be resumed. A request the server refuses for what is in it (too long, say)
ends its own episode and no other: `RequestRefusedError`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx

from medeyes_verl.gaze.rollout import Completion
from medeyes_verl.policies.destination import destination_of

BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses that may pass."""
CLOSED_DOOR = frozenset({401, 403, 404, 405})
"""Statuses that every request will meet."""
LONGEST_PAUSE_S = 20.0
MOST_RESPONSE_CHARACTERS = 4_000_000
"""Far above any turn with its token ids; a longer body is not read as JSON."""


class EndpointError(RuntimeError):
    """The endpoint cannot be worked with: the run stops, what was played is kept."""


class RequestRefusedError(RuntimeError):
    """The server will not take this one request."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request is waited for and how often it is tried."""

    timeout_s: float = 600.0
    """For one answer: with many requests in flight most of it is queueing."""
    attempts: int = 6
    """Tries of one request."""
    first_pause_s: float = 0.5
    """Before the second try; doubled each time, with some chance so that requests do not come back in step."""


class ChatClient:
    """Connections to one endpoint. Use as an asynchronous context manager.

    Each connection is a client of its own: the pool of one client looks at all its connections, their sockets
    included, at both ends of every request, which with 64 of them is more work than the request.
    Raises ValueError where `base_url` is no URL of an endpoint.
    """

    def __init__(
        self, base_url: str, api_key: str | None = None, patience: Patience | None = None, connections: int = 64
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.destination = destination_of(base_url)
        self._patience = patience or Patience()
        certificates = httpx.create_ssl_context()  # read once for all
        self._clients = [
            httpx.AsyncClient(
                headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
                timeout=httpx.Timeout(self._patience.timeout_s, connect=30.0),
                verify=certificates,
                proxy=self.destination.proxy,
                trust_env=False,  # the destination has read the environment's proxies
            )
            for _ in range(connections)
        ]
        self._idle: asyncio.LifoQueue[httpx.AsyncClient] = asyncio.LifoQueue()
        for client in self._clients:
            self._idle.put_nowait(client)

    async def __aenter__(self) -> ChatClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(client.aclose() for client in self._clients))

    async def models(self) -> list[str]:
        """The names of the models that the endpoint serves. Raises EndpointError."""
        listed = await self._request("GET", "/models", None)
        return [str(entry["id"]) for entry in listed.get("data", []) if isinstance(entry, dict) and "id" in entry]

    async def chat(self, body: Mapping[str, Any]) -> Completion:
        """POST /chat/completions. Raises EndpointError, RequestRefusedError."""
        answer = await self._request("POST", "/chat/completions", body)
        try:
            choice = answer["choices"][0]
            usage = answer.get("usage") or {}
            text = choice["message"]["content"] or ""
            if not isinstance(text, str):
                raise TypeError("the content is no text")
            return Completion(
                text=text,
                token_ids=_ids(choice.get("token_ids")),
                prompt_ids=_ids(answer.get("prompt_token_ids")),
                prompt_tokens=int(usage.get("prompt_tokens") or 0),
                completion_tokens=int(usage.get("completion_tokens") or 0),
            )
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise EndpointError(f"{self.base_url} does not answer as a chat endpoint does: {error!r}") from error

    async def _request(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        pause = self._patience.first_pause_s
        for attempt in range(1, self._patience.attempts + 1):
            client = await self._idle.get()
            try:
                response = await client.request(method, self.base_url + path, json=body)
            except httpx.TransportError as error:
                trouble = f"{type(error).__name__} {error}".strip()
            else:
                if response.is_success:
                    return self._decoded(response)
                trouble = f"HTTP {response.status_code}: {_message(response)}"
                if response.status_code in CLOSED_DOOR:
                    raise EndpointError(f"{self.base_url}: {trouble}")
                if response.status_code not in BUSY:
                    raise RequestRefusedError(trouble)
            finally:
                self._idle.put_nowait(client)
            if attempt < self._patience.attempts:
                await asyncio.sleep(min(pause, LONGEST_PAUSE_S) * random.uniform(0.7, 1.3))
                pause *= 2
        raise EndpointError(f"{self.base_url} failed {self._patience.attempts} times, the last time with {trouble}")

    def _decoded(self, response: httpx.Response) -> dict[str, Any]:
        try:
            if len(response.content) > MOST_RESPONSE_CHARACTERS:
                raise ValueError(f"{len(response.content)} bytes are too many for one turn")
            decoded = response.json()
            if not isinstance(decoded, dict):
                raise ValueError("not a JSON object")
        except (ValueError, RecursionError) as error:
            raise EndpointError(f"{self.base_url} does not answer as an OpenAI endpoint does: {error}") from error
        return decoded


def _ids(value: Any) -> tuple[int, ...] | None:
    return tuple(int(each) for each in value) if isinstance(value, list) else None


def _message(response: httpx.Response) -> str:
    """The server's own words, in one short line."""
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = response.text
    return " ".join(str(message).split())[:300]
