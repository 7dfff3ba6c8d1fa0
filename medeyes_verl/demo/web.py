"""The demo as a local page: a picture and a question in, the gazes drawn as they happen.

Loopback only. The page asks nothing of any other host, a picture is bounded while it is read and is kept in memory
for its own episode alone. Requests of other sites are refused twice: by the Host header (a rebound name), and by a
header of the page's own, which no other site may send. Needs starlette and uvicorn (`pip install medeyes-verl[demo]`).
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from medeyes_verl.demo.session import (
    DISCLAIMER,
    MOST_PICTURE_BYTES,
    MOST_QUESTION_CHARACTERS,
    Stage,
    picture_of,
)
from medeyes_verl.gaze.trace import EpisodeTrace, TraceTurn
from medeyes_verl.policies.client import EndpointError, RequestRefusedError
from medeyes_verl.report.annotated_image import CSS_COLOURS
from medeyes_verl.report.episode_image import call_words

OWN_HEADER = "x-medeyes-demo"
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data: blob:; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
PAGE_FILES = {
    "/": ("index.html", "text/html"),
    "/demo.js": ("demo.js", "text/javascript"),
    "/demo.css": ("demo.css", "text/css"),
}


@dataclass(frozen=True, slots=True)
class Example:
    """What the page starts with."""

    pictures: Sequence[Image.Image]
    question: str
    truth: str


def demo_app(stage: Stage, example: Example | None = None) -> Starlette:
    """The page and its three answers: what it starts with, and an episode as JSON lines, one a turn."""
    playing = asyncio.Lock()

    async def page(request: Request) -> Response:
        name, kind = PAGE_FILES[request.url.path]
        text = (files("medeyes_verl.demo") / "page" / name).read_text(encoding="utf-8")
        return Response(text, media_type=kind, headers=SECURITY_HEADERS)

    async def start(request: Request) -> Response:
        facts: dict[str, Any] = {
            "disclaimer": DISCLAIMER,
            "policy": stage.name,
            "destination": stage.destination.sentence(),
            "most_bytes": MOST_PICTURE_BYTES,
            "colours": CSS_COLOURS,
            "example": None,
        }
        if example is not None:
            pictures = [_data_url(picture) for picture in example.pictures]
            facts["example"] = {"pictures": pictures, "question": example.question, "truth": example.truth}
        return JSONResponse(facts, headers=SECURITY_HEADERS)

    async def play(request: Request) -> Response:
        if request.headers.get(OWN_HEADER) != "1":
            raise HTTPException(403, "only the demo's own page may ask")
        question = request.query_params.get("question", "").strip()
        if not 0 < len(question) <= MOST_QUESTION_CHARACTERS:
            raise HTTPException(400, f"a question of 1 to {MOST_QUESTION_CHARACTERS} characters is needed")
        if playing.locked():
            raise HTTPException(429, "another episode is being played: try again when it is over")
        if request.query_params.get("example") == "1" and example is not None:
            originals = list(example.pictures)
        else:
            data = await _bounded_body(request)
            try:
                originals = [await asyncio.to_thread(picture_of, data, "the picture")]
            except ValueError as error:
                raise HTTPException(400, str(error)) from error
        lines = _lines(stage, originals, question, playing)
        return StreamingResponse(lines, media_type="application/x-ndjson", headers=SECURITY_HEADERS)

    return Starlette(
        routes=[
            *(Route(path, page) for path in PAGE_FILES),
            Route("/start", start),
            Route("/play", play, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
    )


async def serve_demo(stage: Stage, port: int, example: Example | None = None) -> None:
    """Serve the page on 127.0.0.1 until interrupted."""
    import uvicorn

    config = uvicorn.Config(demo_app(stage, example), host="127.0.0.1", port=port, log_level="warning")
    await uvicorn.Server(config).serve()


async def _bounded_body(request: Request) -> bytes:
    """The request's body, read no further than allowed."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST_PICTURE_BYTES:
            raise HTTPException(413, f"the picture is larger than {MOST_PICTURE_BYTES // 1_000_000} MB")
    return bytes(data)


async def _lines(
    stage: Stage, originals: list[Image.Image], question: str, playing: asyncio.Lock
) -> AsyncIterator[str]:
    """The episode as JSON lines: the pictures, each turn, the end, or an error in words."""
    async with playing:
        try:
            yield _line(kind="pictures", pictures=[_picture(original) for original in originals])
            async for event in stage.play(originals, question):
                yield _end(event) if isinstance(event, EpisodeTrace) else _turn(*event)
        except (ValueError, EndpointError, RequestRefusedError) as error:
            yield _line(kind="error", message=str(error))


def _end(trace: EpisodeTrace) -> str:
    faults = [fault.value for fault in trace.faults]
    return _line(kind="end", answer=trace.answer, finish=trace.finish, faults=faults)


def _turn(turn: TraceTurn, crop: Image.Image | None) -> str:
    return _line(
        kind="turn",
        text=turn.text,
        reasoning=turn.reasoning,
        box=None if turn.box is None else turn.box.as_list(),
        image=turn.image,
        crop=None if crop is None else _data_url(crop),
        call=None if turn.call is None else call_words(turn),
        note=turn.feedback or "",
    )


def _picture(original: Image.Image) -> dict[str, Any]:
    """As the page shows it; DICOM and TIFF are no formats of a browser's."""
    shown = original.copy()
    shown.thumbnail((768, 768))
    return {"width": original.width, "height": original.height, "url": _data_url(shown)}


def _line(**fields: Any) -> str:
    return json.dumps(fields) + "\n"


def _data_url(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
