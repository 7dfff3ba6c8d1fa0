"""JSON requests to one server: many at once, bounded in time, size and number, with one retry policy.

Retryable are connection errors, timeouts and the statuses of RETRYABLE; a request is sent again with growing pauses, or
after what the server's Retry-After asks for. Fatal are the statuses of FATAL, which every request would get, and a
budget that is spent. Any other status refuses this one request.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt

from medeyes_verl.http.destination import destination_of
from medeyes_verl.settings.reader import Between

RETRYABLE = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
FATAL = frozenset({401, 403, 404, 405})
MAX_REPLY_BYTES = 16 << 20
"""Far above any turn with its token ids, or any mask."""
CONNECT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """How a server is asked."""

    url: str
    """Where requests are posted, e.g. http://host:8000/v1/chat/completions."""
    api_key_variable: str = ""
    """Name of the environment variable that holds the key; "" for none. The key itself is never stored."""
    concurrency: Annotated[int, Between(1)] = 32
    """Requests under way at once."""
    timeout: Annotated[float, Between(0, above=True)] = 120.0
    """Seconds for one attempt, all in all."""
    retries: Annotated[int, Between(0)] = 5
    """Further attempts after a retryable error."""
    backoff: Annotated[float, Between(0)] = 0.5
    """Seconds before the first retry, doubled each time, with a jitter."""
    max_backoff: Annotated[float, Between(0)] = 30.0
    """Most seconds before a retry, also where the server asks for more."""
    max_requests: Annotated[int, Between(0)] | None = None
    """Budget: attempts sent, retries included; null: unbounded."""
    max_tokens: Annotated[int, Between(0)] | None = None
    """Budget: prompt and completion tokens, as the server counts them; null: unbounded."""


class HttpError(Exception):
    """A request has no usable reply. The message names the server, the status and the server's own reason."""


class RetryableError(HttpError):
    """The same request may succeed later; raised once all attempts are used up."""

    retry_after = 0.0


class RefusedError(HttpError):
    """The server refuses this one request (400, 413, 422, …), for the reason it gives; others may be accepted."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}")
        self.reason = reason


class FatalError(HttpError):
    """No further request makes sense: a key, a URL or a model is wrong, or the budget is spent."""


class ReplyTooLongError(HttpError):
    """A reply exceeds MAX_REPLY_BYTES and was not read to its end."""


@dataclass(slots=True)
class Spent:
    """What a client has used up."""

    requests: int = 0
    tokens: int = 0
    cached: int = 0
    """Replies found on disk instead."""


class HttpClient:
    """Connections to one server. Made anywhere, and used in one event loop.

    Each connection is an httpx client of its own: the pool of one client checks all its connections, their sockets
    included, at both ends of every request, which with 64 of them is more work than the request.
    """

    def __init__(self, settings: HttpSettings, api_key: str | None = None) -> None:
        """`api_key` goes before the settings' variable. Raises ValueError where the URL is not one of an endpoint."""
        self.settings = settings
        self.destination = destination_of(settings.url)
        self.spent = Spent()
        self._api_key = api_key
        self._clients: list[httpx.AsyncClient] = []
        self._idle: asyncio.LifoQueue[httpx.AsyncClient] = asyncio.LifoQueue()

    async def request(self, body: Mapping[str, Any] | None, path: str = "") -> bytes:
        """POST `body` as JSON (None: GET) and return the reply's body. Raises the subclasses of HttpError."""
        settings = self.settings
        content = None if body is None else json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        attempts = AsyncRetrying(
            stop=stop_after_attempt(settings.retries + 1),
            wait=self._pause,
            retry=retry_if_exception_type(RetryableError),
            reraise=True,
        )
        try:
            return await attempts(self._attempt, settings.url + path, content)
        except RetryableError as error:
            raise RetryableError(
                f"{settings.url} failed {settings.retries + 1} times, the last time with {error}"
            ) from error

    def count_tokens(self, tokens: int) -> None:
        """Add the tokens that a reply reports to the budget's count."""
        self.spent.tokens += max(0, tokens)

    async def close(self) -> None:
        clients, self._clients, self._idle = self._clients, [], asyncio.LifoQueue()
        await asyncio.gather(*(client.aclose() for client in clients))

    async def _attempt(self, url: str, content: bytes | None) -> bytes:
        if not self._clients:
            self._open()
        idle = self._idle
        client = await idle.get()
        try:
            self._check_budget()
            self.spent.requests += 1
            response, body = await asyncio.wait_for(_exchange(client, url, content), self.settings.timeout)
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise RetryableError(f"no complete reply within {self.settings.timeout:g} s") from error
        except httpx.HTTPError as error:
            raise RetryableError(f"{type(error).__name__} {error}".strip()) from error
        finally:
            idle.put_nowait(client)
        if response.is_success:
            return body
        reason = f"HTTP {response.status_code}: {_reason(body)}"
        if response.status_code in FATAL:
            raise FatalError(f"{url}: {reason}")
        if response.status_code not in RETRYABLE:
            raise RefusedError(url, reason)
        retryable = RetryableError(reason)
        after = response.headers.get("retry-after", "")
        retryable.retry_after = float(after) if after.isascii() and after.isdecimal() else 0.0
        raise retryable

    def _pause(self, state: RetryCallState) -> float:
        """Seconds before the next attempt; the jitter keeps requests from coming back in step."""
        settings = self.settings
        pause = min(settings.backoff * 2 ** (state.attempt_number - 1), settings.max_backoff) * random.uniform(0.5, 1.0)
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, RetryableError) else 0.0
        return max(pause, min(asked, settings.max_backoff))

    def _check_budget(self) -> None:
        settings, spent = self.settings, self.spent
        if settings.max_requests is not None and spent.requests >= settings.max_requests:
            raise FatalError(f"the budget of {settings.max_requests} requests is spent")
        if settings.max_tokens is not None and spent.tokens >= settings.max_tokens:
            raise FatalError(f"the budget of {settings.max_tokens} tokens is spent ({spent.tokens} used)")

    def _open(self) -> None:
        """Opened in the event loop that uses it, so that a client can be made, and pickled, anywhere."""
        key, variable = self._api_key, self.settings.api_key_variable
        if not key and variable:
            key = os.environ.get(variable)
            if key is None:
                raise FatalError(f"the environment has no {variable}, which is to hold the key")
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        certificates = httpx.create_ssl_context()  # read once for all
        for _ in range(self.settings.concurrency):
            client = httpx.AsyncClient(
                headers=headers,
                timeout=httpx.Timeout(self.settings.timeout, connect=min(CONNECT_SECONDS, self.settings.timeout)),
                verify=certificates,
                proxy=self.destination.proxy,
                trust_env=False,  # the destination has read the environment's proxies
            )
            self._clients.append(client)
            self._idle.put_nowait(client)


async def _exchange(client: httpx.AsyncClient, url: str, content: bytes | None) -> tuple[httpx.Response, bytes]:
    async with client.stream("GET" if content is None else "POST", url, content=content) as response:
        body = bytearray()
        async for block in response.aiter_bytes():
            body += block
            if len(body) > MAX_REPLY_BYTES:
                raise ReplyTooLongError(f"{url}: a reply of more than {MAX_REPLY_BYTES} bytes")
        return response, bytes(body)


def _reason(body: bytes) -> str:
    """The server's own reason, in one short line."""
    try:
        reason = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        reason = body[:2_000].decode(errors="replace")
    return " ".join(str(reason).split())[:300]
