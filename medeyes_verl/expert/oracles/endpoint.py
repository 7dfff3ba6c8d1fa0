"""Any OpenAI-compatible server with a vision-language model as the expert: vLLM, SGLang, hosted ones.

It says boxes as JSON and its confidence in words. Both coordinate frames; structured output where the
server takes it, tolerant reading everywhere (reading.py, replies.py). A reply that cannot be read is asked
for again; what is read is kept on disk.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from medeyes_verl.expert.oracles import prompts
from medeyes_verl.expert.oracles.client import HttpSettings, OracleClient, RefusedError, ReplyCache, key_of_request
from medeyes_verl.expert.oracles.images import encoded, key_of_picture, shown_size
from medeyes_verl.expert.oracles.protocol import (
    Answer,
    Assessment,
    Candidate,
    Finding,
    Located,
    OracleError,
)
from medeyes_verl.expert.oracles.reading import json_in
from medeyes_verl.expert.oracles.replies import ReplyReader, answered
from medeyes_verl.expert.question import Question
from medeyes_verl.gaze.crop import PixelBounds
from medeyes_verl.gaze.geometry import Box, Frame
from medeyes_verl.settings.reader import Between

Said = TypeVar("Said")


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """An OpenAI-compatible server, its model and how it sees."""

    http: HttpSettings
    model: str
    """The model's name at the server."""
    frame: Frame = "absolute"
    """How the model writes boxes: `absolute` (Qwen2.5-VL) or `relative_1000` (Qwen3-VL)."""
    bounds: PixelBounds = field(default_factory=lambda: PixelBounds(max_pixels=1008 * 1008))
    """The size images are sent in: one the model's own processor leaves as it is."""
    structured: bool = True
    """Ask for JSON by schema (`response_format`); given up by itself where the server refuses it."""
    attempts: Annotated[int, Between(1)] = 2
    """Times a question is put when its answer cannot be read; from the second on at `retry_temperature`."""
    retry_temperature: Annotated[float, Between(0)] = 0.7
    """Of further attempts."""
    max_reply_tokens: Annotated[int, Between(1)] = 512
    """Most tokens of one reply."""
    cache: Path | None = None
    """Folder of the replies. `experts build` keeps them in `<store>.replies` where this is null."""


@dataclass(frozen=True, slots=True)
class _Picture:
    path: str
    box: Box | None
    """The part that is shown, in pixels of the original; None: all of it."""


class EndpointOracle:
    """See the module. Made anywhere, used in one event loop."""

    def __init__(self, settings: EndpointSettings, prompt_folder: str | None = None) -> None:
        """`prompt_folder` holds prompt templates of the user's; None: the package's words."""
        self.name = f"endpoint {settings.model}"
        self.settings = settings
        self._prompts = prompt_folder
        self.client = OracleClient(settings.http)
        self._cache = ReplyCache(settings.cache)
        self._structured = settings.structured
        self._reader = ReplyReader(self.name, settings.frame)

    async def locate(self, question: Question, findings: Sequence[Finding]) -> Located:
        settings = self.settings
        sizes = [shown_size(size, None, settings.bounds) for size in question.image_sizes]
        prompt = prompts.locate_prompt(question, sizes, settings.frame, findings, self._prompts)
        pictures = [_Picture(path, None) for path in question.image_paths]
        return await self._ask(
            prompt, pictures, prompts.LOCATE_SCHEMA, lambda said: self._reader.located(said, question, sizes)
        )

    async def assess(self, question: Question, candidate: Candidate, gaze: Box) -> Assessment:
        original = question.image_sizes[candidate.image - 1]
        shown = shown_size(original, gaze, self.settings.bounds)
        prompt = prompts.assess_prompt(question, candidate.label, shown, self.settings.frame, self._prompts)
        picture = _Picture(question.image_paths[candidate.image - 1], gaze)
        return await self._ask(
            prompt, [picture], prompts.ASSESS_SCHEMA, lambda said: self._reader.assessed(said, candidate, gaze, shown)
        )

    async def answer(self, question: Question, findings: Sequence[Finding]) -> Answer:
        crops = [_Picture(question.image_paths[each.candidate.image - 1], each.gaze) for each in findings]
        pictures = [*(_Picture(path, None) for path in question.image_paths), *crops]
        prompt = prompts.answer_prompt(question, len(crops), self._prompts)
        return await self._ask(prompt, pictures, prompts.ANSWER_SCHEMA, answered)

    async def close(self) -> None:
        await self.client.close()

    async def _ask(
        self,
        prompt: str,
        pictures: Sequence[_Picture],
        schema: Mapping[str, Any],
        read: Callable[[dict[str, Any] | list[Any]], Said | None],
    ) -> Said:
        """Ask until the reply can be read. Raises OracleError where it never can."""
        text = ""
        for attempt in range(self.settings.attempts):
            text = await self._reply(prompt, pictures, schema, attempt)
            said = json_in(text)
            value = None if said is None else read(said)
            if value is not None:
                return value
        raise OracleError(
            f"{self.name}: no readable answer in {self.settings.attempts} replies, the last: {text[:200]!r}"
        )

    async def _reply(self, prompt: str, pictures: Sequence[_Picture], schema: Mapping[str, Any], attempt: int) -> str:
        settings = self.settings
        temperature = settings.retry_temperature if attempt else 0.0
        keys = [key_of_picture(each.path, each.box, settings.bounds) for each in pictures]
        asked = {"model": settings.model, "prompt": prompt, "pictures": keys, "attempt": attempt, "t": temperature,
                 "tokens": settings.max_reply_tokens}  # fmt: skip
        system = prompts.system_text(self._prompts)
        if system != prompts.system_text(None):  # replies to the package's own words are kept under the shorter key
            asked["system"] = system
        key = key_of_request(asked)
        kept = self._cache.get(key)
        if isinstance(kept, str):
            self.client.spent.cached += 1
            return kept
        # Decoding and resizing leave the interpreter's lock: other requests go on meanwhile.
        content = await asyncio.to_thread(_content, prompt, pictures, settings.bounds)
        messages = [{"role": "system", "content": system}, {"role": "user", "content": content}]
        payload: dict[str, Any] = {
            "model": settings.model,
            "messages": messages,
            "temperature": temperature,
            "max_tokens": settings.max_reply_tokens,
        }
        text = await self._chat(payload, schema)
        self._cache.put(key, text)
        return text

    async def _chat(self, payload: dict[str, Any], schema: Mapping[str, Any]) -> str:
        form = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
        if self._structured:
            try:
                return self._text(await self.client.post({**payload, "response_format": form}))
            except RefusedError:
                text = self._text(await self.client.post(payload))
                # The plain request went through: it was the form that the server does not know.
                self._structured = False
                return text
        return self._text(await self.client.post(payload))

    def _text(self, body: bytes) -> str:
        try:
            reply = json.loads(body)
            text = reply["choices"][0]["message"]["content"] or ""
            usage = reply.get("usage") or {}
            self.client.count_tokens(int(usage.get("total_tokens") or 0))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            shown = body[:200].decode(errors="replace")
            raise OracleError(f"{self.settings.http.url}: not a chat completion: {shown!r}") from error
        if not isinstance(text, str):
            raise OracleError(f"{self.settings.http.url}: the reply's content is no text")
        return text


def _content(prompt: str, pictures: Sequence[_Picture], bounds: PixelBounds) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [
        {
            "type": "image_url",
            "image_url": {"url": f"data:image/jpeg;base64,{encoded(each.path, each.box, bounds, 'JPEG')}"},
        }
        for each in pictures
    ]
    return [*parts, {"type": "text", "text": prompt}]
