"""A policy's tokens without its pixels: what training, warm-up and evaluation count with.

A Hugging Face processor resizes, normalises and cuts every picture only to say how many tokens it takes. The pictures
here have sides that the processor leaves as they are, so their number of tokens is known from their size.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from PIL import Image

from medeyes_verl.gaze.settings import EpisodeSettings

TEXTS_KEPT = 4096
"""Texts whose tokens are remembered: what stands around a crop is always the same, and a prompt is asked often."""


class PolicyTokens:
    """Stands in for a Qwen-VL processor where only tokens are wanted; loaded once a process."""

    def __init__(self, processor: Any) -> None:
        self.tokenizer = processor.tokenizer
        image_processor = processor.image_processor
        self.side = int(image_processor.patch_size) * int(image_processor.merge_size)
        """Pixels a side of a merged visual token: 28 for Qwen2.5-VL, 32 for Qwen3-VL."""
        self._image_id = int(processor.image_token_id)
        video_id = getattr(processor, "video_token_id", None)
        self.placeholder_ids = [self._image_id] + ([] if video_id is None else [int(video_id)])
        """Tokens that stand for pictures: a policy must not write them."""
        self._template = processor.apply_chat_template
        self._encoded = lru_cache(maxsize=TEXTS_KEPT)(self._encode)

    def rules(self, rules: EpisodeSettings) -> EpisodeSettings:
        """The rules with pictures of sides that this policy's processor leaves as they are."""
        return replace(
            rules, view=replace(rules.view, multiple=self.side), crop=replace(rules.crop, multiple=self.side)
        )

    def encode(self, text: str) -> list[int]:
        """A text's tokens; a picture's placeholder is one token."""
        return list(self._encoded(text))

    def apply_chat_template(self, conversation: Any, /, *, add_generation_prompt: bool, tokenize: bool) -> Any:
        return self._template(conversation, add_generation_prompt=add_generation_prompt, tokenize=tokenize)

    def __call__(self, *, text: list[str], images: list[Image.Image] | None) -> dict[str, list[list[int]]]:
        sizes = iter([picture.width * picture.height // self.side**2 for picture in images or ()])
        batch = []
        for each in text:
            ids: list[int] = []
            for token in self._encoded(each):
                ids += [token] * (next(sizes, 1) if token == self._image_id else 1)
            batch.append(ids)
        return {"input_ids": batch}

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))
