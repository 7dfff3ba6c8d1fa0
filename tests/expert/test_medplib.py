"""MedPLIB over its wire format, against a server on loopback that speaks it (its weights are not run)."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medeyes_verl.expert.oracles.client import HttpSettings
from medeyes_verl.expert.oracles.medplib import MedplibOracle, MedplibSettings
from medeyes_verl.expert.oracles.protocol import Candidate, OracleError
from medeyes_verl.expert.question import Question
from medeyes_verl.gaze.crop import PixelBounds
from medeyes_verl.gaze.geometry import Box, Size


@pytest.fixture
def question(tmp_path: Path) -> Question:
    Image.new("RGB", (1120, 560), "grey").save(tmp_path / "p.png")
    return Question("q", "Is there a mass?", "closed", "yes", (), (str(tmp_path / "p.png"),), (Size(1120, 560),))


def mask_of(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (280, 560)) -> np.ndarray:
    mask = np.zeros(size, bool)
    for x1, y1, x2, y2 in boxes:
        mask[y1:y2, x1:x2] = True
    return mask


def wire(
    request: dict[str, Any], mask: np.ndarray | None, text: str = "Sure, it is <SEG>.", change: Any = None
) -> bytes:
    """The stream of a worker: the text as it grows, then the whole with the mask."""
    whole = {
        "text": request["prompt"] + text,
        "mask": [] if mask is None else np.argwhere(mask).tolist(),
        "height": "0" if mask is None else str(mask.shape[0]),
        "width": "0" if mask is None else str(mask.shape[1]),
        "error_code": 0,
    } | (change or {})
    partial = {**whole, "text": request["prompt"] + text[:4], "mask": [], "height": "0", "width": "0"}
    return b"".join(json.dumps(each).encode() + b"\0" for each in (partial, whole))


def ask(serve: type, behave: Callable[..., Any], do: Callable[[MedplibOracle], Any], **changes: Any) -> Any:
    async def run() -> Any:
        async with serve(behave) as server:
            root = server.url.removesuffix("/v1/chat/completions")
            http = HttpSettings(root + "/", timeout=5, retries=1, backoff=0.001)
            oracle = MedplibOracle(MedplibSettings(http, PixelBounds(max_pixels=560 * 280), **changes))
            try:
                return await do(oracle), server
            except OracleError as error:
                return error, server
            finally:
                await oracle.close()

    return asyncio.run(run())


def test_one_mask_becomes_regions_and_the_request_is_as_the_worker_wants_it(
    serve: type, reply: type, question: Question
) -> None:
    mask = mask_of((20, 10, 60, 50), (300, 100, 400, 250), (500, 5, 503, 8))
    located, server = ask(
        serve, lambda request, _: reply(body=wire(request, mask)), lambda oracle: oracle.locate(question, ())
    )
    # The mask is half the original's size; the third component is a speck. A full box counts as sure.
    assert located.candidates == (
        Candidate(Box(600, 200, 800, 500), 1.0),
        Candidate(Box(40, 20, 120, 100), 1.0),
    )
    request = server.requests[0]
    assert "POST /worker_generate_stream" in server.headers[0]
    assert request["region_masks"] == []
    assert "<im_start><image><im_end>\n" in request["prompt"]
    assert Image.open(io.BytesIO(base64.b64decode(request["images"][0]))).size == (560, 280)


def test_logits_give_the_mean_sigmoid(serve: type, reply: type, question: Question) -> None:
    mask = mask_of((20, 10, 60, 50))
    logits = [0.0] * 800 + [2.0] * 800
    located, _ = ask(
        serve,
        lambda request, _: reply(body=wire(request, mask, change={"mask_logits": logits})),
        lambda oracle: oracle.locate(question, ()),
    )
    assert located.candidates[0].confidence == pytest.approx((0.5 + 1 / (1 + np.exp(-2))) / 2)


def test_a_drill_segments_the_crop_and_maps_back(serve: type, reply: type, question: Question) -> None:
    """A gaze of 280 × 280 is shown as 280 × 280; its mask is in its own pixels."""
    mask = mask_of((100, 100, 150, 200), size=(280, 280))
    assessed, server = ask(
        serve,
        lambda request, _: reply(body=wire(request, mask)),
        lambda oracle: oracle.assess(question, Candidate(Box(600, 200, 800, 400), 0.5), Box(560, 140, 840, 420)),
    )
    assert (assessed.box, assessed.confidence) == (Box(660, 240, 710, 340), 1.0)
    picture = base64.b64decode(server.requests[0]["images"][0])
    assert Image.open(io.BytesIO(picture)).size == (280, 280)


def test_no_mask_is_no_region(serve: type, reply: type, question: Question) -> None:
    behave = lambda request, _: reply(body=wire(request, None, "There is nothing.</s>"))  # noqa: E731
    located, _ = ask(serve, behave, lambda oracle: oracle.locate(question, ()))
    assert located.candidates == ()
    assessed, _ = ask(
        serve, behave, lambda oracle: oracle.assess(question, Candidate(Box(0, 0, 9, 9), 0.5), Box(0, 0, 280, 280))
    )
    assert (assessed.confidence, assessed.words) == (0.0, "There is nothing.")


def test_the_answer_is_the_text_after_the_prompt(serve: type, reply: type, question: Question) -> None:
    answer, _ = ask(
        serve,
        lambda request, _: reply(body=wire(request, None, " Yes, there is.</s>")),
        lambda oracle: oracle.answer(question, ()),
    )
    assert answer.text == "Yes, there is."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"error_code": 1, "text": "NETWORK ERROR"}, "error code 1: NETWORK ERROR"),
        ({"mask": [[1, 2, 3]]}, "not its own"),
        ({"mask": [[400, 1]]}, "a pixel outside the mask"),
        ({"mask": [[-1, 1]]}, "a pixel outside the mask"),
        ({"mask": "all"}, "not its own"),
        ({"height": "many"}, "not its own"),
        ({"height": "999999999"}, "a mask of"),
        ({"mask_logits": [0.5]}, "do not fit"),
        ({"mask_logits": "x"}, "not its own"),
    ],
)
def test_what_is_not_its_form_is_an_error(
    serve: type, reply: type, question: Question, change: dict[str, Any], message: str
) -> None:
    error, _ = ask(
        serve,
        lambda request, _: reply(body=wire(request, mask_of((20, 10, 60, 50)), change=change)),
        lambda oracle: oracle.locate(question, ()),
    )
    assert isinstance(error, OracleError)
    assert message in str(error)


@pytest.mark.parametrize("cut", [-1, -30])
def test_a_stream_cut_off_is_no_answer(serve: type, reply: type, question: Question, cut: int) -> None:
    error, _ = ask(
        serve,
        lambda request, _: reply(body=wire(request, mask_of((20, 10, 60, 50)))[:cut]),
        lambda oracle: oracle.locate(question, ()),
    )
    assert isinstance(error, OracleError)
    assert "does not end with a whole object" in str(error)


def test_nothing_is_asked_twice(serve: type, reply: type, question: Question, tmp_path: Path) -> None:
    behave = lambda request, _: reply(body=wire(request, mask_of((20, 10, 60, 50))))  # noqa: E731
    locate = lambda oracle: oracle.locate(question, ())  # noqa: E731
    first, _ = ask(serve, behave, locate, cache=tmp_path / "cache")
    second, server = ask(serve, behave, locate, cache=tmp_path / "cache")
    assert (second, server.requests) == (first, [])
