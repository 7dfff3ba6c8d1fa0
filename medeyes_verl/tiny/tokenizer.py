"""A tokenizer trained on the game's own text, so that a turn is few tokens and a tiny vocabulary does.

Byte-level BPE: any text can be written, and what the data says often is one token. Text is first cut into
pieces that make an action compact: the fixed beginning of its JSON is one piece, each number is one (without a
leading space, so 14 has one form), each separator is one. An action is then about 15 tokens. Every tag of the
grammar is one token, so a seam between the model's text and the environment's never falls inside one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

END_OF_TEXT: Final = "<|endoftext|>"
END_OF_TURN: Final = "<|im_end|>"
IMAGE: Final = "<|image_pad|>"
VIDEO: Final = "<|video_pad|>"
VISION_START: Final = "<|vision_start|>"
VISION_END: Final = "<|vision_end|>"
SPECIAL_TOKENS: Final = (END_OF_TEXT, "<|im_start|>", END_OF_TURN, VISION_START, VISION_END, IMAGE, VIDEO)
TAGS: Final = tuple(f"<{slash}{name}>" for name in ("reasoning", "action", "answer", "feedback") for slash in ("", "/"))

MAX_VOCABULARY: Final = 1024
"""Pieces of the BPE at most; phantom needs about 400, a question set of free text uses them all."""

_PIECES: Final = "|".join(
    (
        r'\{"[^\[\]{}<>0-9]*\[',  # {"name": "Gaze", "coordinate": [
        r"\]\}?",
        r', "[a-z]+": ',  # , "image":
        r", ",
        r"\p{N}+",
        r" ?\p{L}+",
        r" ?[^\s\p{L}\p{N}]+",
        r"\s+",
    )
)

CHAT_TEMPLATE: Final = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.content is string %}{{- message.content }}"
    "{%- else %}{%- for part in message.content %}"
    "{%- if part.type == 'image' %}{{- '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{%- elif part.type == 'text' %}{{- part.text }}{%- endif %}"
    "{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
"""ChatML, without a system message of its own."""


def train_tokenizer(texts: Iterable[str]) -> Any:
    """A fast Hugging Face tokenizer trained on `texts`; ids 0 … len(tokenizer) − 1 are all in use.

    Deterministic: the same texts in the same order give the same tokenizer.
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("|".join(TAGS)), "removed"),
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=MAX_VOCABULARY, min_frequency=2, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(["system\nuser\nassistant\n"] * 2 + list(texts), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
        additional_special_tokens=list(SPECIAL_TOKENS),
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.add_tokens(list(TAGS))
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
