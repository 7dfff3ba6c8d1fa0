"""MedPLIB's model worker as the expert, over HTTP.

    POST <url>/worker_generate_stream
    {"model", "prompt", "images": [base64], "region_masks": [] or [[[0|1, …] …]], "temperature", "top_p",
     "max_new_tokens", "stop"}
    → NUL-delimited JSON objects {"text", "mask": [[row, column], …], "height", "width", "error_code"}

The last object holds the whole text (the prompt first) and, where the model segmented something, the pixels
of one mask. A mask becomes its connected components, one region each. The worker sends no confidence: with
the optional field "mask_logits", the logits of the mask's pixels in the order of "mask", it is the mean
sigmoid inside a component; without it, how well the component fills its box (a compact region is a sure
one), which is a stand-in and no probability. A drill segments the crop again.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from medeyes_verl.expert.oracles.client import HttpSettings, OracleClient, ReplyCache, key_of_request
from medeyes_verl.expert.oracles.components import components_of
from medeyes_verl.expert.oracles.images import encoded, key_of_picture
from medeyes_verl.expert.oracles.protocol import (
    MAX_CANDIDATES,
    Answer,
    Assessment,
    Candidate,
    Finding,
    Located,
    OracleError,
)
from medeyes_verl.expert.question import Question
from medeyes_verl.gaze.crop import PixelBounds
from medeyes_verl.gaze.geometry import Box, Size, to_original
from medeyes_verl.settings.reader import Between

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
STOP = "</s>"
SEGMENT = "Could you segment out the abnormal region in this image?"
MIN_COMPONENT_SHARE = 0.0005
"""Components of less than this share of the picture are specks."""
MAX_SIDE = 4096
"""A larger mask is no answer to a picture that we sent."""


@dataclass(frozen=True, slots=True)
class MedplibSettings:
    """MedPLIB's model worker, and the size in which it gets images."""

    http: HttpSettings
    """`url` is the worker's root, e.g. http://host:40000."""
    bounds: PixelBounds = field(default_factory=lambda: PixelBounds(max_pixels=672 * 672))
    """The worker shrinks to 336 (CLIP) and 256 (SAM) itself."""
    cache: Path | None = None
    """Folder of the replies. `experts build` keeps them in `<store>.replies` where this is null."""
    max_new_tokens: Annotated[int, Between(1)] = 256
    """Most tokens of one reply."""


@dataclass(frozen=True, slots=True)
class _Said:
    text: str
    mask_HW: NDArray[np.bool_] | None
    logits_HW: NDArray[np.float64] | None


class MedplibOracle:
    """See the module. Made anywhere, used in one event loop."""

    def __init__(self, settings: MedplibSettings) -> None:
        self.name = "medplib"
        self.settings = settings
        self.client = OracleClient(
            replace(settings.http, url=settings.http.url.rstrip("/") + "/worker_generate_stream")
        )
        self._cache = ReplyCache(settings.cache)

    async def locate(self, question: Question, findings: Sequence[Finding]) -> Located:
        candidates: list[Candidate] = []
        for image, path in enumerate(question.image_paths, 1):
            said = await self._ask(SEGMENT, path, None)
            original = question.image_sizes[image - 1]
            candidates += [
                Candidate(box, confidence, image) for box, confidence in self._regions(said, Box(0, 0, *original))
            ]
        candidates.sort(key=lambda each: -each.confidence)
        return Located(tuple(candidates[:MAX_CANDIDATES]))

    async def assess(self, question: Question, candidate: Candidate, gaze: Box) -> Assessment:
        path = question.image_paths[candidate.image - 1]
        said = await self._ask(SEGMENT, path, gaze)
        regions = self._regions(said, gaze)
        if not regions:
            return Assessment(0.0, words=said.text or None)
        box, confidence = max(regions, key=lambda each: each[0].iou(candidate.box))
        return Assessment(confidence, None, box, said.text or None)

    async def answer(self, question: Question, findings: Sequence[Finding]) -> Answer:
        options = "".join(f" {letter}. {text}" for letter, text in zip("ABCDEFGHIJ", question.options, strict=False))
        said = await self._ask(question.text + options, question.image_paths[0], None)
        if not said.text:
            raise OracleError(f"{self.client.settings.url}: an empty answer")
        return Answer(said.text)

    async def close(self) -> None:
        await self.client.close()

    async def _ask(self, text: str, path: str, part: Box | None) -> _Said:
        settings = self.settings
        prompt = f"{SYSTEM} USER: <im_start><image><im_end>\n{text} ASSISTANT:"
        key = key_of_request({"medplib": prompt, "picture": key_of_picture(path, part, settings.bounds)})
        reply = self._cache.get(key)
        if reply is None:
            payload = {
                "model": "medplib",
                "prompt": prompt,
                "images": [await asyncio.to_thread(encoded, path, part, settings.bounds, "PNG")],
                "region_masks": [],  # left out, the worker fails
                "temperature": 0.0,
                "top_p": 1.0,
                "max_new_tokens": settings.max_new_tokens,
                "stop": STOP,
            }
            reply = last_object(await self.client.post(payload))
            read_reply(reply, prompt)  # only what can be read is kept
            self._cache.put(key, reply)
        else:
            self.client.spent.cached += 1
        return read_reply(reply, prompt)

    def _regions(self, said: _Said, part: Box) -> list[tuple[Box, float]]:
        """The mask's components as boxes in the original, with confidences; `part` is what was shown."""
        if said.mask_HW is None:
            return []
        height, width = said.mask_HW.shape
        regions = []
        for component in components_of(said.mask_HW, math.ceil(MIN_COMPONENT_SHARE * said.mask_HW.size)):
            rows, columns = component.window
            written = Box(float(columns.start), float(rows.start), float(columns.stop), float(rows.stop))
            shown = to_original(written, "absolute", Size(width, height), Size(round(part.width), round(part.height)))
            box = Box(part.x1 + shown.x1, part.y1 + shown.y1, part.x1 + shown.x2, part.y1 + shown.y2)
            if said.logits_HW is not None:
                logits = said.logits_HW[component.window][component.inside_hw]
                confidence = float(np.mean(1.0 / (1.0 + np.exp(-logits))))
            else:
                confidence = component.pixels / written.area
            regions.append((box, confidence))
        return regions


def last_object(body: bytes) -> dict[str, Any]:
    """The last object of a NUL-delimited stream; the ones before hold the text so far.

    Raises OracleError where it is not whole: an earlier one would be a text cut off, without its mask.
    """
    try:
        *_, last, rest = body.split(b"\0")
        value = json.loads(last)
        if rest == b"" and isinstance(value, dict):
            return value
    except ValueError:
        pass
    raise OracleError(f"MedPLIB: its reply does not end with a whole object: {body[:200].decode(errors='replace')!r}")


def read_reply(reply: dict[str, Any], prompt: str) -> _Said:
    """The text after the prompt, and the mask. Raises OracleError for a reported error or another form."""
    if reply.get("error_code") != 0:
        raise OracleError(f"MedPLIB: error code {reply.get('error_code')!r}: {str(reply.get('text'))[:200]}")
    try:
        text = str(reply["text"]).removeprefix(prompt).replace(STOP, "").strip()
        height, width = int(reply["height"]), int(reply["width"])
        if not (reply["mask"] and height and width):
            return _Said(text, None, None)
        if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
            raise ValueError(f"a mask of {width} × {height}")
        places = np.asarray(reply["mask"], dtype=np.int64).reshape(-1, 2)
        if places.min() < 0 or (places >= (height, width)).any():
            raise ValueError("a pixel outside the mask")
        mask_HW = np.zeros((height, width), bool)
        mask_HW[places[:, 0], places[:, 1]] = True
        logits_HW = None
        if "mask_logits" in reply:
            logits = np.asarray(reply["mask_logits"], dtype=np.float64)
            if logits.shape != (len(places),) or not np.isfinite(logits).all():
                raise ValueError("mask_logits do not fit the mask")
            logits_HW = np.zeros((height, width))
            logits_HW[places[:, 0], places[:, 1]] = logits
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise OracleError(f"MedPLIB: a reply that is not its own: {error!r}") from error
    return _Said(text, mask_HW, logits_HW)
