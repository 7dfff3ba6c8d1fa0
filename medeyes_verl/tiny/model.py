"""The tiny policy: a Qwen2.5-VL of about 1.5 million parameters with random weights, and its folder on disk.

The shape is the smallest one found to learn the game in minutes. Where it departs from a scaled-down Qwen2.5-VL:
full attention in every vision layer (a view is 16 merged tokens, windows would only cut it up), a rotary base of 5
(a view's rows and columns count to 4: with the usual base the positions are nearly equal), untied embeddings. Heads
are 32 wide throughout, which vLLM's CPU attention asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from transformers import (
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
)
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

from medeyes_verl.gaze.crop import PixelBounds
from medeyes_verl.gaze.tiny_episode import tiny_episode
from medeyes_verl.tiny.tokenizer import CHAT_TEMPLATE, END_OF_TEXT, END_OF_TURN, IMAGE, VIDEO, VISION_END, VISION_START

TINY_EPISODE: Final = tiny_episode()
"""The episode the tiny policy is warmed up for."""
TINY_BOUNDS: Final = TINY_EPISODE.view
"""An image is 4 to 16 merged visual tokens."""

IMAGE_MEAN: Final = 0.4
IMAGE_STD: Final = 0.2
"""Of phantom's grey values, so that pixels come in with about zero mean and unit variance."""


@dataclass(frozen=True, slots=True)
class TinyShape:
    """Sizes of the tiny policy."""

    hidden: int = 128
    """Width of the text model; 4 query heads and 2 key-value heads of 32."""
    layers: int = 4
    feed_forward: int = 384
    vision_hidden: int = 96
    """Width of the vision tower; 3 heads of 32."""
    vision_layers: int = 3
    vision_feed_forward: int = 256
    rope_theta: float = 5.0
    initializer_range: float = 0.04


def build_model(tokenizer: Any, shape: TinyShape, seed: int) -> Any:
    """A Qwen2_5_VLForConditionalGeneration in float32 with fresh weights and the tokenizer's vocabulary."""
    ids = {
        token: tokenizer.convert_tokens_to_ids(token)
        for token in (END_OF_TEXT, END_OF_TURN, IMAGE, VIDEO, VISION_START, VISION_END)
    }
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.hidden // 32,
        "num_key_value_heads": shape.hidden // 64,
        "max_position_embeddings": 4096,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": shape.rope_theta,
            "mrope_section": [4, 6, 6],  # time, row, column: halves of the 32 rotary dimensions of a head
        },
        "bos_token_id": ids[END_OF_TEXT],
        "eos_token_id": ids[END_OF_TURN],
        "pad_token_id": ids[END_OF_TEXT],
        "initializer_range": shape.initializer_range,
    }
    vision = {
        "depth": shape.vision_layers,
        "hidden_size": shape.vision_hidden,
        "intermediate_size": shape.vision_feed_forward,
        "num_heads": shape.vision_hidden // 32,
        "out_hidden_size": shape.hidden,
        "fullatt_block_indexes": list(range(shape.vision_layers)),
        "initializer_range": shape.initializer_range,
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids[IMAGE],
        video_token_id=ids[VIDEO],
        vision_start_token_id=ids[VISION_START],
        vision_end_token_id=ids[VISION_END],
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config).float()
    model.generation_config = GenerationConfig(
        bos_token_id=ids[END_OF_TEXT], eos_token_id=ids[END_OF_TURN], pad_token_id=ids[END_OF_TEXT]
    )
    return model


def build_processor(tokenizer: Any, bounds: PixelBounds = TINY_BOUNDS) -> Any:
    """The processor that goes with the model; it leaves pictures alone that are fitted to `bounds`."""
    pictures = Qwen2VLImageProcessor(
        size={"shortest_edge": bounds.min_pixels, "longest_edge": bounds.max_pixels},
        image_mean=[IMAGE_MEAN] * 3,
        image_std=[IMAGE_STD] * 3,
    )
    return Qwen2_5_VLProcessor(
        image_processor=pictures,
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    )


def save_policy(model: Any, processor: Any, folder: Path) -> None:
    """A plain Hugging Face folder: weights, config, tokenizer, processor, chat template."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
