"""The tokenizer: complete, compact, and with every tag in one piece."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medeyes_verl.gaze.geometry import Box
from medeyes_verl.gaze.grammar import Turn, render_turn
from medeyes_verl.tiny.tokenizer import SPECIAL_TOKENS, TAGS, train_tokenizer

LOOK = render_turn(Turn("scan", Box(14, 84, 42, 112)))
ANSWER = render_turn(Turn("ring seen", answer="ring"))
TEXTS = [LOOK, ANSWER, "What is the lesion?", render_turn(Turn("empty", Box(0, 28, 28, 56)))] * 8


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(TEXTS)


def test_every_id_is_in_use_and_every_tag_and_special_token_is_one(tokenizer: Any) -> None:
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    for token in (*TAGS, *SPECIAL_TOKENS):
        assert len(tokenizer.encode(token, add_special_tokens=False)) == 1, token
    # Tags are text that the grammar reads: decoding must keep them.
    assert tokenizer.decode(tokenizer.encode(LOOK), skip_special_tokens=True) == LOOK


def test_turns_are_compact_and_a_number_has_one_form(tokenizer: Any) -> None:
    assert len(tokenizer.encode(LOOK)) == 15
    assert len(tokenizer.encode(ANSWER)) <= 9
    first, second = (tokenizer.convert_tokens_to_ids(text) for text in ("14", "42"))
    assert tokenizer.encode(LOOK).count(first) == tokenizer.encode(LOOK).count(second) == 1


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_text_comes_back(tokenizer: Any, text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_the_same_texts_give_the_same_tokenizer(tokenizer: Any) -> None:
    assert train_tokenizer(TEXTS).get_vocab() == tokenizer.get_vocab()


def test_the_chat_template_adds_nothing_of_its_own(tokenizer: Any) -> None:
    content = [{"type": "image"}, {"type": "text", "text": "What?"}]
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    assert text == (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What?<|im_end|>\n<|im_start|>assistant\n"
    )
