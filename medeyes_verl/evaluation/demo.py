"""One picture, one question, one policy: the episode told turn by turn as it happens.

It is the episode of training and evaluation, with the same rules, words and tokens; only who watches differs.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from medeyes_verl.data.dicom import dicom_as_png, is_dicom
from medeyes_verl.evaluation.client import ChatClient
from medeyes_verl.evaluation.destination import IN_THIS_PROCESS, Destination
from medeyes_verl.evaluation.local import LocalPolicy, LocalWriter
from medeyes_verl.evaluation.recipe import Recipe
from medeyes_verl.evaluation.run_folder import policy_and_recipe
from medeyes_verl.evaluation.tokens import Message, UsageLedger
from medeyes_verl.evaluation.writers import ChatWriter, OutOfTokensError, Requests, Sampling, Writer
from medeyes_verl.gaze.crop import open_picture
from medeyes_verl.gaze.episode import Episode
from medeyes_verl.gaze.geometry import Box, Size, to_original
from medeyes_verl.gaze.grammar import parse_turn
from medeyes_verl.gaze.prompt import system_prompt
from medeyes_verl.gaze.record import EpisodeRecord

DISCLAIMER = "Research software, not a medical device. Its answers are no diagnosis and must not guide care."
MOST_PICTURE_BYTES = 32_000_000
"""Of an encoded picture; a larger one is refused unread."""
MOST_QUESTION_CHARACTERS = 2_000

WriterOf = Callable[[Sequence[Message], Sequence[Image.Image]], Writer]
"""Makes the author of one episode from its prompt and the pictures in it."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One turn of the policy and what it saw for it."""

    text: str
    """As the policy wrote it."""
    reasoning: str
    box: Box | None
    """What was cropped, in pixels of the original; None when nothing was."""
    image: int
    crop: Image.Image | None
    note: str
    """The environment's words; "" with a crop or an answer."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A policy that is ready to play, and the rules it plays by."""

    name: str
    recipe: Recipe
    writer_of: WriterOf
    destination: Destination
    """Where the images go that the policy is asked about."""

    async def play(self, originals: Sequence[Image.Image], question: str) -> AsyncIterator[Moment | EpisodeRecord]:
        """Each turn as it is written, and at the end the record of the episode.

        Raises ValueError for a picture that no model can see, EndpointError and RequestRefusedError of an endpoint.
        """
        episode = Episode(originals, self.recipe.rules)
        writer = self.writer_of(self._messages(episode, question), episode.views)
        try:
            while not episode.over:
                text = await writer.write()
                observation = episode.reply(text)
                crop = None if observation is None else observation.picture
                turn = parse_turn(text)
                yield Moment(
                    text=text,
                    reasoning=turn.reasoning,
                    box=None if crop is None or turn.box is None else _in_original(episode, turn.box, turn.image),
                    image=turn.image,
                    crop=crop,
                    note="" if observation is None else observation.text,
                )
                if observation is not None:
                    writer.observe(observation)
        except OutOfTokensError:
            episode.truncate()
        yield episode.record

    def _messages(self, episode: Episode, question: str) -> list[dict[str, Any]]:
        pictures = [{"type": "image"} for _ in episode.views]
        messages: list[dict[str, Any]] = [{"role": "user", "content": [*pictures, {"type": "text", "text": question}]}]
        if self.recipe.system_prompt:
            sizes = [Size(*view.size) for view in episode.views]
            messages.insert(0, {"role": "system", "content": system_prompt(self.recipe.rules, sizes)})
        return messages


@asynccontextmanager
async def open_stage(
    named: str,
    recipe: Recipe | None = None,
    *,
    model: str | None = None,
    api_key: str | None = None,
    plain: bool = False,
) -> AsyncIterator[Stage]:
    """Load the policy of a run or a model folder, or connect to an endpoint (http…).

    `recipe` are the rules, for an endpoint needed; `model`, `api_key` and `plain` (only OpenAI's own fields) are for
    an endpoint. Raises ValueError, EndpointError.
    """
    if not named.startswith(("http://", "https://")):
        folder, own = policy_and_recipe(Path(named))
        yield _local_stage(folder, recipe or own)
        return
    if recipe is None:
        raise ValueError(f"cannot infer a recipe for {named}; pass --recipe (for example qwen2_5_vl_3b)")
    async with ChatClient(named, api_key) as client:
        served = model or await _only_model(client)
        yield _endpoint_stage(client, served, recipe, plain)


def _local_stage(folder: Path, recipe: Recipe) -> Stage:
    policy = LocalPolicy(folder)
    recipe = replace(recipe, rules=policy.tokens.rules(recipe.rules))

    def writer_of(messages: Sequence[Message], views: Sequence[Image.Image]) -> Writer:
        return LocalWriter(policy, recipe, messages, views)

    return Stage(str(folder), recipe, writer_of, IN_THIS_PROCESS)


def _endpoint_stage(client: ChatClient, served: str, recipe: Recipe, plain: bool) -> Stage:
    requests = Requests(model=served, turn_tokens=recipe.turn_tokens, sampling=Sampling(), extensions=not plain)

    def writer_of(messages: Sequence[Message], views: Sequence[Image.Image]) -> Writer:
        return ChatWriter(client, requests, UsageLedger(recipe.response_length), messages, views, "demo")

    return Stage(f"{served} at {client.destination.host}", recipe, writer_of, client.destination)


async def _only_model(client: ChatClient) -> str:
    names = await client.models()
    if len(names) != 1:
        raise ValueError(f"{client.base_url} serves {', '.join(names) or 'nothing'}: pass --model NAME")
    return names[0]


def picture_of(data: bytes, name: str) -> Image.Image:
    """A picture from untrusted bytes: any format Pillow reads, or DICOM where pydicom is installed.

    Raises ValueError naming it when it is too large or no picture.
    """
    if len(data) > MOST_PICTURE_BYTES:
        raise ValueError(f"{name}: larger than {MOST_PICTURE_BYTES // 1_000_000} MB")
    if is_dicom(data):
        try:
            data = dicom_as_png(data)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    try:
        return open_picture(io.BytesIO(data))  # type: ignore[arg-type]  # a file object serves as well
    except ValueError as error:
        # the error itself names the buffer, which nobody knows
        unknown = isinstance(error.__cause__, UnidentifiedImageError)
        raise ValueError(f"{name}: {'no known picture format' if unknown else error.__cause__}") from error


def read_picture(path: Path) -> Image.Image:
    """A picture from a file. Raises ValueError, also where there is no file."""
    try:
        with path.open("rb") as file:
            return picture_of(file.read(MOST_PICTURE_BYTES + 1), str(path))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error


def _in_original(episode: Episode, written: Box, image: int) -> Box:
    """A box that was cropped, as the record will have it."""
    limits = episode.limits(image)
    return to_original(written, limits.frame, limits.view, limits.original).clipped(limits.original)
