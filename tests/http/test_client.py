"""The one HTTP client: what is retried, what is not, and the bounds of pauses and replies."""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from medeyes_verl.http.client import (
    MAX_REPLY_BYTES,
    FatalError,
    HttpClient,
    HttpError,
    HttpSettings,
    RefusedError,
    ReplyTooLongError,
    RetryableError,
)

Said = tuple[int, dict[str, str], bytes]


@contextmanager
def server(*replies: Said) -> Iterator[tuple[str, list[bytes]]]:
    """Gives the replies in turn, the last one for ever; yields its URL and the bodies it was sent."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            status, headers, body = replies[min(len(bodies), len(replies)) - 1]
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}/v1", bodies
    finally:
        listening.shutdown()
        listening.server_close()


def ask(url: str, times: int = 1, **settings: Any) -> bytes | HttpError:
    """The last reply or the first error."""

    async def main() -> bytes:
        client = HttpClient(HttpSettings(url, **{"retries": 2, "backoff": 0.001, "concurrency": 2, **settings}))
        try:
            for _ in range(times - 1):
                await client.request({"q": 1})
            return await client.request({"q": "ü"})
        finally:
            await client.close()

    try:
        return asyncio.run(main())
    except HttpError as error:
        return error


@pytest.mark.parametrize(
    ("status", "kind", "sent"),
    [(200, bytes, 1), (429, RetryableError, 3), (503, RetryableError, 3), (400, RefusedError, 1),
     (422, RefusedError, 1), (302, RefusedError, 1), (401, FatalError, 1), (404, FatalError, 1)],
)  # fmt: skip
def test_each_status_has_one_meaning(status: int, kind: type, sent: int) -> None:
    with server((status, {}, b'{"error": {"message": "because\\n of this"}}')) as (url, bodies):
        found = ask(url)
    assert type(found) is kind
    assert bodies == ['{"q":"ü"}'.encode()] * sent
    if kind is not bytes:
        assert url in str(found)
        assert f"HTTP {status}: because of this" in str(found)
    if kind is RetryableError:
        assert "failed 3 times" in str(found)


@pytest.mark.parametrize(("after", "seconds"), [("1", 0.3), ("999999999999", 0.3), ("soon", 0.0), ("²", 0.0)])
def test_a_server_is_given_the_time_it_asks_for_up_to_the_longest_pause(after: str, seconds: float) -> None:
    start = time.monotonic()
    with server((429, {"retry-after": after.encode().decode("latin-1")}, b""), (200, {}, b"yes")) as (url, _):
        assert ask(url, max_backoff=0.3) == b"yes"
    assert seconds <= time.monotonic() - start < seconds + 5


@pytest.mark.parametrize("packed", [False, True])
def test_a_reply_without_end_is_not_read_to_its_end(packed: bool) -> None:
    body = b" " * (MAX_REPLY_BYTES + 1)
    said = (200, {"content-encoding": "gzip"}, gzip.compress(body)) if packed else (200, {}, body)
    with server(said) as (url, bodies):
        found = ask(url)
    assert type(found) is ReplyTooLongError
    assert len(bodies) == 1


def test_a_budget_counts_retries_and_ends_everything() -> None:
    with server((503, {}, b"busy")) as (url, bodies):
        found = ask(url, retries=9, max_requests=4)
    assert type(found) is FatalError
    assert "the budget of 4 requests is spent" in str(found)
    assert len(bodies) == 4


def test_a_key_that_the_environment_lacks_is_named_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with server((200, {}, b"")) as (url, bodies):
        found = ask(url, api_key_variable="NO_SUCH_KEY")
    assert type(found) is FatalError
    assert "NO_SUCH_KEY" in str(found)
    assert bodies == []


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://host/v1", "http://"])
def test_what_is_no_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        HttpClient(HttpSettings(url))
