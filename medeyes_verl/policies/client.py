"""Chat requests to an OpenAI-compatible endpoint.

Where the retries of `medeyes_verl.http` do not help, the run ends with `EndpointError` and can be resumed. A request
the server refuses for what is in it (too long, say) ends its own episode and no other: `RequestRefusedError`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any

from medeyes_verl.gaze.rollout import Completion
from medeyes_verl.http.client import HttpClient, HttpError, HttpSettings, RefusedError, ReplyTooLongError

CHAT = HttpSettings("", timeout=600.0, retries=5, backoff=0.5, max_backoff=20.0)
"""With many requests in flight most of an answer's time is queueing, hence the long timeout."""


class EndpointError(RuntimeError):
    """The endpoint cannot be worked with: the run stops, what was played is kept."""


class RequestRefusedError(RuntimeError):
    """The server will not take this one request."""


class ChatClient:
    """Connections to one endpoint. Use as an asynchronous context manager.

    Raises ValueError where `base_url` is no URL of an endpoint.
    """

    def __init__(
        self, base_url: str, api_key: str | None = None, settings: HttpSettings | None = None, connections: int = 64
    ) -> None:
        """The settings' own URL and concurrency give way to `base_url` and `connections`."""
        self.base_url = base_url.rstrip("/")
        self._http = HttpClient(replace(settings or CHAT, url=self.base_url, concurrency=connections), api_key)
        self.destination = self._http.destination

    async def __aenter__(self) -> ChatClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def models(self) -> list[str]:
        """The names of the models that the endpoint serves. Raises EndpointError."""
        listed = await self._request("/models", None)
        return [str(entry["id"]) for entry in listed.get("data", []) if isinstance(entry, dict) and "id" in entry]

    async def chat(self, body: Mapping[str, Any]) -> Completion:
        """POST /chat/completions. Raises EndpointError, RequestRefusedError."""
        answer = await self._request("/chat/completions", body)
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

    async def _request(self, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        try:
            decoded = json.loads(await self._http.request(body, path))
            if not isinstance(decoded, dict):
                raise ValueError("not a JSON object")
        except RefusedError as error:
            raise RequestRefusedError(error.reason) from error
        except (ValueError, RecursionError, ReplyTooLongError) as error:
            raise EndpointError(f"{self.base_url} does not answer as an OpenAI endpoint does: {error}") from error
        except HttpError as error:
            raise EndpointError(str(error)) from error
        return decoded


def _ids(value: Any) -> tuple[int, ...] | None:
    return tuple(int(each) for each in value) if isinstance(value, list) else None
