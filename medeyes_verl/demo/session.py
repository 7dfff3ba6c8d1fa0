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
from medeyes_verl.evaluation.player import with_system_prompt
from medeyes_verl.evaluation.recipe import Recipe, check_own
from medeyes_verl.evaluation.run_folder import policy_and_recipe
from medeyes_verl.gaze.conversation import Conversation
from medeyes_verl.gaze.crop import open_picture
from medeyes_verl.gaze.episode import Episode
from medeyes_verl.gaze.rollout import Policy, turns_of
from medeyes_verl.gaze.trace import EpisodeTrace, TraceTurn
from medeyes_verl.http.destination import IN_THIS_PROCESS, Destination
from medeyes_verl.policies.chat import ChatPolicy, Requests, Sampling
from medeyes_verl.policies.chat_conversation import ChatConversation, Message, UsageBudget
from medeyes_verl.policies.client import ChatClient
from medeyes_verl.policies.local import LocalPolicy

DISCLAIMER = "Research software, not a medical device. Its answers are no diagnosis and must not guide care."
MOST_PICTURE_BYTES = 32_000_000
"""Of an encoded picture; a larger one is refused unread."""
MOST_QUESTION_CHARACTERS = 2_000

Start = Callable[[Sequence[Message], Sequence[Image.Image]], tuple[Any, Policy[Any]]]
"""Makes the conversation and the policy of one episode from its prompt and the images in it."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A policy that is ready to play, and the recipe it plays by."""

    name: str
    recipe: Recipe
    start: Start
    destination: Destination
    """Where the images go that the policy is asked about."""

    async def play(
        self, originals: Sequence[Image.Image], question: str
    ) -> AsyncIterator[tuple[TraceTurn, Image.Image | None] | EpisodeTrace]:
        """Yield each turn with its crop as it is written, and at the end the trace of the episode.

        Raises ValueError for an image that no model can see, EndpointError and RequestRefusedError of an endpoint.
        """
        episode = Episode(originals, self.recipe.rules)
        images = [{"type": "image"} for _ in episode.views]
        asked = [{"role": "user", "content": [*images, {"type": "text", "text": question}]}]
        conversation, policy = self.start(with_system_prompt(asked, self.recipe, episode), episode.views)
        async for turn, observation in turns_of(episode, conversation, policy):
            yield turn, None if observation is None else observation.picture
        yield episode.trace


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
        check_own(recipe or own)
        yield _local_stage(folder, recipe or own)
        return
    if recipe is None:
        raise ValueError(f"cannot infer a recipe for {named}; pass --recipe (for example qwen2_5_vl_3b)")
    check_own(recipe)
    async with ChatClient(named, api_key) as client:
        served = model or await _only_model(client)
        yield _endpoint_stage(client, served, recipe, plain)


def _local_stage(folder: Path, recipe: Recipe) -> Stage:
    policy = LocalPolicy(folder, recipe.turn_tokens)
    recipe = replace(recipe, rules=policy.tokens.rules(recipe.rules))

    def start(messages: Sequence[Message], views: Sequence[Image.Image]) -> tuple[Conversation, LocalPolicy]:
        return Conversation(policy.tokens, messages, views, recipe.response_length), policy

    return Stage(str(folder), recipe, start, IN_THIS_PROCESS)


def _endpoint_stage(client: ChatClient, served: str, recipe: Recipe, plain: bool) -> Stage:
    requests = Requests(model=served, turn_tokens=recipe.turn_tokens, sampling=Sampling(), extensions=not plain)

    def start(messages: Sequence[Message], views: Sequence[Image.Image]) -> tuple[ChatConversation, ChatPolicy]:
        conversation = ChatConversation(messages, views, UsageBudget(recipe.response_length))
        return conversation, ChatPolicy(client, requests, "demo")

    return Stage(f"{served} at {client.destination.host}", recipe, start, client.destination)


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
