"""A policy in this process, through transformers: for one episode at a time, where no server is worth starting.

The tokens are those of training: kept by the same `Conversation`, never tokenised twice.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from medeyes_verl.gaze.conversation import Conversation
from medeyes_verl.gaze.grammar import STOP_STRINGS
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.gaze.rollout import Completion


class LocalPolicy:
    """A model folder, loaded; on the GPU where there is one. `turn_tokens` bound a turn.

    Raises ValueError for any other folder.
    """

    def __init__(self, folder: Path, turn_tokens: int) -> None:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        if not (folder / "config.json").is_file():
            raise ValueError(f"{folder} is no Hugging Face model folder: it has no config.json")
        try:
            self.processor: Any = AutoProcessor.from_pretrained(folder)
            self.model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype="auto")
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{folder} does not load as a vision-language model: {error}") from error
        self.model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self.tokens = PolicyTokens(self.processor)
        self._turn_tokens = turn_tokens

    async def next_turn(self, conversation: Conversation) -> Completion:
        limit = min(self._turn_tokens, conversation.room)
        ids = await asyncio.to_thread(self._generate, conversation, limit)
        return Completion(token_ids=ids, completion_tokens=len(ids))

    def _generate(self, conversation: Conversation, limit: int) -> list[int]:
        """The next turn's tokens, greedy, at most `limit`; it ends with a stop string or an end token."""
        import torch

        ids = torch.tensor([conversation.prompt_ids + conversation.response_ids], device=self.model.device)
        pictures = self.processor.image_processor(images=conversation.pictures, return_tensors="pt")
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                # without these transformers falls back to one-dimensional positions, silently
                mm_token_type_ids=(ids == self.processor.image_token_id).int(),
                **pictures.to(self.model.device),
                max_new_tokens=limit,
                do_sample=False,
                stop_strings=list(STOP_STRINGS),
                tokenizer=self.processor.tokenizer,
                suppress_tokens=self.tokens.placeholder_ids,
            )
        return out[0, ids.shape[1] :].tolist()
