"""The conversation with a chat endpoint: its messages, and a token budget counted as training counts it.

Training ends an episode when its response reaches `response_length` tokens, observations included. Where the policy's
processor is at hand, the budget is the very `Conversation` of training, and its tokens are compared with what the
server says it was fed. Elsewhere `UsageBudget` goes by the counts in the server's answers.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from medeyes_verl.gaze.conversation import Conversation
from medeyes_verl.gaze.episode import Observation
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.gaze.rollout import Completion

Message = Mapping[str, Any]
"""As chat templates take it: role, and a text or a list of parts {"type": "image"} and {"type": "text", "text"}."""


def load_tokens(model: str) -> PolicyTokens:
    """From a model's folder or Hugging Face name. Raises ValueError when it has no vision-language processor."""
    from transformers import AutoProcessor

    try:
        return PolicyTokens(AutoProcessor.from_pretrained(model))
    except (OSError, ValueError, ImportError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise ValueError(f"{model} has no vision-language processor that could be loaded: {reason}") from error


class UsageBudget:
    """Counts by the server's own figures, where nothing better is known.

    An observation's tokens are learnt with the answer after it, so the last turn may be given more than training
    would have left it, by as much.
    """

    def __init__(self, response_length: int) -> None:
        self._response_length = response_length
        self._prompt: int | None = None
        self._total = 0

    @property
    def room(self) -> int:
        return self._response_length - (self._total - (self._prompt or 0))

    def take(self, completion: Completion) -> tuple[str, int]:
        if self._prompt is None:
            self._prompt = completion.prompt_tokens
        self._total = completion.prompt_tokens + completion.completion_tokens
        return completion.text, completion.completion_tokens

    def add_observation(self, observation: Observation) -> bool:
        return self.room > 0


class ChatConversation:
    """One episode's messages as an endpoint takes them, worded exactly as the agent loop words them for training.

    `budget` counts the tokens: training's `Conversation` over the same messages and views, or a `UsageBudget`.
    """

    def __init__(
        self, messages: Sequence[Message], views: Sequence[Image.Image], budget: Conversation | UsageBudget
    ) -> None:
        self.messages = chat_messages(messages, views)
        """What the next request sends."""
        self.prompts_differing: int | None = None
        """Turns before which the server's prompt was not, token for token, training's; None: it did not tell."""
        self._budget = budget

    @property
    def room(self) -> int:
        return self._budget.room

    def take(self, completion: Completion) -> tuple[str, int]:
        if completion.prompt_ids is not None and isinstance(self._budget, Conversation):
            trained_on = self._budget.prompt_ids + self._budget.response_ids
            self.prompts_differing = (self.prompts_differing or 0) + (list(completion.prompt_ids) != trained_on)
        text, num_tokens = self._budget.take(completion)
        self.messages.append({"role": "assistant", "content": text})
        return text, num_tokens

    def add_observation(self, observation: Observation) -> bool:
        if not self._budget.add_observation(observation):
            return False
        self.messages.append({"role": "user", "content": feedback(observation)})
        return True


def chat_messages(messages: Sequence[Message], views: Sequence[Image.Image]) -> list[dict[str, Any]]:
    """A chat template's messages as an endpoint takes them, each image's place filled with the image."""
    waiting = iter(views)
    return [
        {
            "role": message["role"],
            "content": message["content"]
            if isinstance(message["content"], str)
            else [_image_part(next(waiting)) if part["type"] == "image" else part for part in message["content"]],
        }
        for message in messages
    ]


def feedback(observation: Observation) -> list[dict[str, Any]]:
    """An observation as the parts of a user's turn: <feedback>, the crop, the words, </feedback>."""
    if observation.picture is None:
        return [{"type": "text", "text": f"<feedback>{observation.text}</feedback>"}]
    return [
        {"type": "text", "text": "<feedback>"},
        _image_part(observation.picture),
        {"type": "text", "text": f"{observation.text}</feedback>"},
    ]


def _image_part(image: Image.Image) -> dict[str, Any]:
    """Lossless, so that the model sees the pixels of training."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"type": "image_url", "image_url": {"url": url}}
