"""Asking a remote expert: many requests at once, each bounded in time, retried with backoff, within a budget.

What a server says is untrusted: replies have a size limit, and anything that is not a JSON object counts as
a fault of the moment and is asked again. Replies are kept on disk by the content of what was asked, so that
a build that was killed, or a second one with other settings, asks nothing twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx

from medeyes_verl.data.atomic import write_bytes
from medeyes_verl.expert.oracles.protocol import OracleDownError, OracleError
from medeyes_verl.settings.reader import Between

MAX_REPLY_BYTES = 16 << 20
TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may well succeed."""
HOPELESS = frozenset({401, 403, 404, 405})
"""Statuses that every further request would get too."""


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
    """Further attempts after a fault of the moment."""
    backoff: Annotated[float, Between(0)] = 0.5
    """Seconds before the first retry, doubled each time, with a jitter."""
    max_backoff: Annotated[float, Between(0)] = 30.0
    """Most seconds before a retry."""
    max_requests: Annotated[int, Between(0)] | None = None
    """Budget: attempts sent, retries included; null: unbounded."""
    max_tokens: Annotated[int, Between(0)] | None = None
    """Budget: prompt and completion tokens, as the server counts them; null: unbounded."""


class RefusedError(OracleError):
    """The server understood the request and refuses it (400, 422): this one is wrong, others may not be."""


@dataclass(slots=True)
class Spent:
    """What a client has used up."""

    requests: int = 0
    tokens: int = 0
    cached: int = 0
    """Replies found on disk instead."""


class HttpClient:
    """Posts JSON and returns bytes that `read` accepts; see `HttpSettings` for what it puts up with."""

    def __init__(self, settings: HttpSettings) -> None:
        self.settings = settings
        self.spent = Spent()
        self._client: httpx.AsyncClient | None = None
        self._turns: asyncio.Semaphore | None = None

    async def post(self, payload: Mapping[str, Any]) -> bytes:
        """The body of the reply. Raises OracleError, RefusedError or OracleDownError."""
        settings = self.settings
        fault = ""
        for attempt in range(settings.retries + 1):
            wait = 0.0
            try:
                status, body, wait = await self._attempt(payload)
            except (httpx.HTTPError, TimeoutError, asyncio.TimeoutError) as error:
                fault = f"{type(error).__name__} {error}".strip()
            else:
                if status == 200:
                    return body
                fault = f"status {status}: {body[:300].decode(errors='replace')}"
                if status in HOPELESS:
                    raise OracleDownError(f"{settings.url}: {fault}")
                if status not in TRANSIENT:
                    raise RefusedError(f"{settings.url}: {fault}")
            if attempt < settings.retries:
                pause = min(settings.backoff * 2**attempt, settings.max_backoff) * random.uniform(0.5, 1.0)
                await asyncio.sleep(max(pause, min(wait, settings.max_backoff)))
        raise OracleError(f"{settings.url}: no reply after {settings.retries + 1} attempts, the last: {fault}")

    def count_tokens(self, tokens: int) -> None:
        """Book the tokens a reply reports."""
        self.spent.tokens += max(0, tokens)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _attempt(self, payload: Mapping[str, Any]) -> tuple[int, bytes, float]:
        """One request: status, body, and the seconds that the server asks to wait."""
        client, turns = self._open()
        async with turns:
            self._check_budget()
            self.spent.requests += 1
            return await asyncio.wait_for(self._exchange(client, payload), self.settings.timeout)

    async def _exchange(self, client: httpx.AsyncClient, payload: Mapping[str, Any]) -> tuple[int, bytes, float]:
        async with client.stream("POST", self.settings.url, json=payload) as reply:
            body = bytearray()
            async for block in reply.aiter_bytes():
                body += block
                if len(body) > MAX_REPLY_BYTES:
                    raise OracleError(f"{self.settings.url}: a reply of more than {MAX_REPLY_BYTES} bytes")
            after = reply.headers.get("retry-after", "")
            return reply.status_code, bytes(body), float(after) if after.isdigit() else 0.0

    def _check_budget(self) -> None:
        settings, spent = self.settings, self.spent
        if settings.max_requests is not None and spent.requests >= settings.max_requests:
            raise OracleDownError(f"the budget of {settings.max_requests} requests is spent")
        if settings.max_tokens is not None and spent.tokens >= settings.max_tokens:
            raise OracleDownError(f"the budget of {settings.max_tokens} tokens is spent ({spent.tokens} used)")

    def _open(self) -> tuple[httpx.AsyncClient, asyncio.Semaphore]:
        """Opened in the event loop that uses it, so that a client can be made, and pickled, anywhere."""
        if self._client is None or self._turns is None:
            settings = self.settings
            headers = {}
            if settings.api_key_variable:
                if settings.api_key_variable not in os.environ:
                    raise OracleDownError(
                        f"the environment has no {settings.api_key_variable}, which is to hold the key"
                    )
                headers["Authorization"] = f"Bearer {os.environ[settings.api_key_variable]}"
            limits = httpx.Limits(max_connections=settings.concurrency, max_keepalive_connections=settings.concurrency)
            self._client = httpx.AsyncClient(timeout=settings.timeout, limits=limits, headers=headers)
            self._turns = asyncio.Semaphore(settings.concurrency)
        return self._client, self._turns


class ReplyCache:
    """Replies on disk, a small file each, named by the digest of what was asked. Safe for many processes."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, key: str) -> Any | None:
        """What was kept under `key`; None when there is nothing (or nothing whole)."""
        if self._folder is None:
            return None
        try:
            return json.loads(self._path(self._folder, key).read_bytes())
        except (OSError, ValueError):
            return None

    def put(self, key: str, reply: Any) -> None:
        if self._folder is not None:
            write_bytes(self._path(self._folder, key), json.dumps(reply, ensure_ascii=False).encode())

    @staticmethod
    def _path(folder: Path, key: str) -> Path:
        return folder / key[:2] / f"{key}.json"


def key_of_request(parts: Mapping[str, Any]) -> str:
    """The digest of what is asked; pictures enter `parts` by the digest of their content."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
