"""A small folder laid out like SLAKE 1.0, and an HTTP server that misbehaves as it is told."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CLASSES = {1: "Liver", 2: "Left Lung", 3: "Right Lung", 4: "Lung Cancer"}


@pytest.fixture
def slake(tmp_path: Path) -> Path:
    """With the irregularities of the published one."""
    root = tmp_path / "slake"
    chest, belly, brain = (root / "imgs" / f"xmlab{number}" for number in (1, 2, 3))
    for number, folder in enumerate((chest, belly, brain)):
        folder.mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(0, 255, (400, 500), dtype=np.uint8)
        Image.fromarray(pixels).convert("RGB").save(folder / "source.jpg")
    (root / "mask.txt").write_text("".join(f"{number}:{name}\n" for number, name in CLASSES.items()))
    # A chest: two lungs, the same disease twice, one box that reaches out of the picture.
    boxes = [
        {"Left Lung": [260.0, 50.0, 200.0, 300.0]},
        {"Right Lung": [40.0, 50.0, 200.0, 300.0]},
        {"Nodule": [300.0, 100.0, 40.0, 30.0]},
        {"Nodule": [80.0, 200.0, 30.0, 30.0]},
        {"Effusion": [420.0, 300.0, 200.0, 200.0]},
    ]
    (chest / "detection.json").write_text(json.dumps(boxes))
    # A belly: no boxes, but a mask.
    (belly / "detection.json").write_text("[]")
    mask = np.zeros((400, 500), np.uint8)
    mask[100:200, 50:250] = 1
    indexed = Image.fromarray(mask, "P")
    indexed.putpalette([0, 0, 0, 255, 0, 0] + [0] * 762)
    indexed.save(belly / "mask.png")
    # A brain with everything wrong, and one sound entry among it.
    wrong = [{"Brain Edema": [10, 10, -5, 5]}, {"Mass": ["a", 1, 2, 3]}, ["no"], {"Mass": [900, 900, 5, 5]}]
    (brain / "detection.json").write_text(json.dumps([*wrong, {"Mass": [100, 100, 50, 60]}]))
    Image.fromarray(mask).convert("RGB").save(brain / "mask.png")
    return root


@dataclass
class Reply:
    """What a test server does with one request."""

    status: int = 200
    body: bytes = b""
    headers: str = ""
    delay: float = 0.0
    hang: bool = False
    """Say nothing until the client goes."""
    cut: bool = False
    """Promise the whole body, send half of it, and hang up."""


class Server:
    """A real HTTP server on loopback whose behaviour is a function of the request and its number."""

    def __init__(self, behave: Callable[[dict[str, Any], int], Reply]) -> None:
        self.behave = behave
        self.requests: list[dict[str, Any]] = []
        self.headers: list[str] = []
        self.busy = self.most_busy = 0
        self.url = ""

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1/chat/completions"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(re.search(rb"content-length: (\d+)", head.lower()).group(1))  # type: ignore[union-attr]
                request = json.loads(await reader.readexactly(length))
                self.requests.append(request)
                self.headers.append(head.decode())
                self.busy += 1
                self.most_busy = max(self.most_busy, self.busy)
                reply = self.behave(request, len(self.requests) - 1)
                await asyncio.sleep(reply.delay)
                if reply.hang:
                    await reader.read()
                self.busy -= 1
                promise = f"HTTP/1.1 {reply.status} X\r\ncontent-length: {len(reply.body)}\r\n{reply.headers}\r\n"
                writer.write(promise.encode() + (reply.body[: len(reply.body) // 2] if reply.cut else reply.body))
                await writer.drain()
                if reply.cut:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
def serve() -> type[Server]:
    return Server


@pytest.fixture
def reply() -> type[Reply]:
    return Reply
