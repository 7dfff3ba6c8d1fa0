"""Counting an episode's tokens as training counts them, while a server does the tokenising.

Training cuts an episode off when its response reaches `response_length` tokens, observations included. Where the
policy's processor is at hand, `TokenLedger` keeps the very tokens training would feed, with the same
`Conversation`, and compares them with what the server says it was fed. Elsewhere `UsageLedger` goes by the counts
in the server's answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from PIL import Image

from medeyes_verl.evaluation.client import Reply
from medeyes_verl.gaze.conversation import Conversation
from medeyes_verl.gaze.episode import Observation
from medeyes_verl.gaze.settings import EpisodeSettings

Message = Mapping[str, Any]
"""As chat templates take it: role, and a text or a list of parts {"type": "image"} and {"type": "text", "text"}."""


class Ledger(Protocol):
    """What is left of an episode's budget."""

    @property
    def room(self) -> int:
        """Tokens the response may still grow."""

    def take(self, reply: Reply) -> str:
        """Enter a turn of the model; its text without special tokens at the end."""

    def observe(self, observation: Observation) -> bool:
        """Enter an observation; False when no token of the model would fit after it."""

    @property
    def differing(self) -> int | None:
        """Prompts of the server that were not those of training; None when the server does not tell."""


class PolicyTokens:
    """What of a policy's processor is needed here, loaded once a run.

    Stands in for the processor itself: its tokens, without the work on pixels.
    """

    def __init__(self, processor: Any) -> None:
        self.tokenizer = processor.tokenizer
        image_processor = processor.image_processor
        self.side = int(image_processor.patch_size) * int(image_processor.merge_size)
        """Pixels a side of a merged visual token: 28 for Qwen2.5-VL, 32 for Qwen3-VL."""
        self._image_id = int(processor.image_token_id)
        video_id = getattr(processor, "video_token_id", None)
        self.placeholder_ids = [self._image_id] + ([] if video_id is None else [int(video_id)])
        """Tokens that stand for pictures: a policy must not write them, in training or here."""
        self._special_ids = frozenset(self.tokenizer.all_special_ids)
        self._template = processor.apply_chat_template

    @classmethod
    def load(cls, model: str) -> PolicyTokens:
        """From a model's folder or Hugging Face name. Raises ValueError when it has no such processor."""
        from transformers import AutoProcessor

        try:
            return cls(AutoProcessor.from_pretrained(model))
        except (OSError, ValueError, ImportError, AttributeError) as error:
            reason = str(error).splitlines()[0] if str(error) else repr(error)
            raise ValueError(f"{model} has no vision-language processor that could be loaded: {reason}") from error

    def rules(self, rules: EpisodeSettings) -> EpisodeSettings:
        """The rules with pictures of sides that this policy's processor leaves as they are."""
        return replace(
            rules, view=replace(rules.view, multiple=self.side), crop=replace(rules.crop, multiple=self.side)
        )

    def text(self, ids: Sequence[int]) -> str:
        """A turn's text, special tokens at its end removed: what training parses."""
        end = len(ids)
        while end and ids[end - 1] in self._special_ids:
            end -= 1
        return str(self.tokenizer.decode(list(ids[:end]), skip_special_tokens=False))

    def apply_chat_template(self, conversation: Any, /, *, add_generation_prompt: bool, tokenize: bool) -> Any:
        return self._template(conversation, add_generation_prompt=add_generation_prompt, tokenize=tokenize)

    def __call__(self, *, text: list[str], images: list[Image.Image] | None) -> dict[str, list[list[int]]]:
        sizes = iter([picture.width * picture.height // self.side**2 for picture in images or ()])
        batch = []
        for each in text:
            ids: list[int] = []
            for token in self.tokenizer.encode(each, add_special_tokens=False):
                ids += [token] * (next(sizes, 1) if token == self._image_id else 1)
            batch.append(ids)
        return {"input_ids": batch}


class TokenLedger:
    """The exact ledger: the tokens of training, kept by the class that keeps them there."""

    def __init__(
        self, tokens: PolicyTokens, messages: Sequence[Message], views: Sequence[Image.Image], response_length: int
    ) -> None:
        self._tokens = tokens
        self._conversation = Conversation(tokens, messages, views, response_length)
        self.differing: int | None = None

    @property
    def room(self) -> int:
        return self._conversation.room

    def take(self, reply: Reply) -> str:
        conversation = self._conversation
        if reply.prompt_ids is not None:
            same = list(reply.prompt_ids) == conversation.prompt_ids + conversation.response_ids
            self.differing = (self.differing or 0) + (not same)
        ids = reply.token_ids
        if ids is None:
            ids = tuple(self._tokens.tokenizer.encode(reply.text, add_special_tokens=False))
        conversation.add_turn(ids, [0.0] * len(ids))
        return self._tokens.text(ids)

    def observe(self, observation: Observation) -> bool:
        return self._conversation.add_observation(observation)


class UsageLedger:
    """By the server's own counts, where nothing better is known.

    An observation's tokens are learnt with the answer after it, so the last turn may be given more than training
    would have left it, by as much.
    """

    differing: int | None = None

    def __init__(self, response_length: int) -> None:
        self._response_length = response_length
        self._prompt: int | None = None
        self._total = 0

    @property
    def room(self) -> int:
        return self._response_length - (self._total - (self._prompt or 0))

    def take(self, reply: Reply) -> str:
        if self._prompt is None:
            self._prompt = reply.prompt_tokens
        self._total = reply.prompt_tokens + reply.completion_tokens
        return reply.text

    def observe(self, observation: Observation) -> bool:
        return self.room > 0
