"""Asking a remote expert with the package's HTTP client, and replies kept on disk.

What a server says is untrusted: replies have a size limit. They are kept by the content of what was asked, so that a
build that was killed, or a second one with other settings, asks nothing twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medeyes_verl.data.atomic import write_bytes
from medeyes_verl.expert.oracles.protocol import OracleDownError, OracleError
from medeyes_verl.http import client as http
from medeyes_verl.http.client import HttpSettings

__all__ = ["HttpSettings", "OracleClient", "RefusedError", "ReplyCache", "key_of_request"]


class RefusedError(OracleError):
    """The server understood the request and refuses it (400, 422): this one is wrong, others may not be."""


class OracleClient(http.HttpClient):
    """Posts JSON; its errors are those of an oracle."""

    async def post(self, payload: Mapping[str, Any]) -> bytes:
        """The body of the reply. Raises OracleError, RefusedError or OracleDownError."""
        try:
            return await self.request(payload)
        except http.RefusedError as error:
            raise RefusedError(str(error)) from error
        except http.FatalError as error:
            raise OracleDownError(str(error)) from error
        except http.HttpError as error:
            raise OracleError(str(error)) from error


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
