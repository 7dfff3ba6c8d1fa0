"""Token budgets: the stand-in's tokens are the processor's, the ledger's those of training."""

import random
from typing import Any

import pytest
from PIL import Image

from medeyes_verl.gaze.conversation import Conversation
from medeyes_verl.gaze.episode import Observation
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.gaze.rollout import Completion
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.policies.chat_conversation import (
    ChatConversation,
    UsageBudget,
    chat_messages,
    feedback,
    load_tokens,
)

MESSAGES = [
    {"role": "system", "content": "the rules"},
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
]
GAZE = '<reasoning>scan</reasoning>\n<action>{"name": "Gaze", "coordinate": [0, 0, 28, 28]}</action>'


@pytest.fixture(scope="module")
def processor() -> Any:
    from medeyes_verl.tiny.model import build_processor
    from medeyes_verl.tiny.tokenizer import train_tokenizer

    return build_processor(train_tokenizer([GAZE, "<feedback></feedback>", "What is it? the rules"] * 3))


def picture(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), "grey")


def replies(tokens: PolicyTokens, text: str, prompt: list[int] | None) -> Completion:
    ids = tuple(tokens.tokenizer.encode(text, add_special_tokens=False))
    return Completion(text, ids, prompt_ids=None if prompt is None else tuple(prompt), completion_tokens=len(ids))


def test_the_stand_in_has_the_processors_tokens(processor: Any) -> None:
    tokens = PolicyTokens(processor)
    place = "<|vision_start|><|image_pad|><|vision_end|>"
    for sizes in ([(56, 56)], [(112, 84), (56, 112)], [(84, 84)] * 3):
        text, pictures = "a" + place.join("bcde"[: len(sizes) + 1]), [picture(*size) for size in sizes]
        assert (
            tokens(text=[text], images=pictures)["input_ids"][0]
            == processor(text=[text], images=pictures)["input_ids"][0]
        )


def test_the_ledger_is_trainings_conversation(processor: Any) -> None:
    tokens = PolicyTokens(processor)
    view, crop = picture(112, 112), picture(56, 84)
    ledger = ChatConversation(MESSAGES, [view], Conversation(tokens, MESSAGES, [view], 200))
    training = Conversation(processor, MESSAGES, [view], 200)
    for observation in (Observation("", crop), Observation("Tiny box.", None)):
        reply = replies(tokens, GAZE, training.prompt_ids + training.response_ids)
        assert ledger.take(reply) == (GAZE, len(reply.token_ids or ()))
        training.add_turn(reply.token_ids or (), [0.0] * len(reply.token_ids or ()))
        assert ledger.room == training.room
        assert ledger.add_observation(observation) == training.add_observation(observation)
        assert ledger.room == training.room
    assert ledger.prompts_differing == 0
    ledger.take(replies(tokens, GAZE, training.prompt_ids))
    assert ledger.prompts_differing == 1


def test_what_is_sent_renders_to_trainings_tokens(processor: Any) -> None:
    """The chat template over the messages of the endpoint gives the tokens that training builds turn by turn."""
    tokens = PolicyTokens(processor)
    view, crop = picture(112, 112), picture(56, 84)
    training = Conversation(processor, MESSAGES, [view], 300)
    ids = processor.tokenizer.encode(GAZE, add_special_tokens=False)
    training.add_turn(ids, [0.0] * len(ids))
    training.add_observation(Observation("", crop))
    sent = chat_messages(MESSAGES, [view])
    sent += [{"role": "assistant", "content": GAZE}, {"role": "user", "content": feedback(Observation("", crop))}]
    for message in sent:
        for part in message["content"] if isinstance(message["content"], list) else []:
            if part["type"] == "image_url":  # as a server hands it to the template
                part["type"] = "image"
    text = processor.apply_chat_template(sent, add_generation_prompt=True, tokenize=False)
    assert tokens(text=[text], images=[view, crop])["input_ids"][0] == training.prompt_ids + training.response_ids


def test_an_observation_that_does_not_fit_ends_the_episode_as_in_training(processor: Any) -> None:
    tokens = PolicyTokens(processor)
    randomly = random.Random(0)
    for _ in range(50):
        length = randomly.randrange(5, 60)
        views = [picture(56, 56)]
        ledger = ChatConversation(MESSAGES, views, Conversation(tokens, MESSAGES, views, length))
        training = Conversation(processor, MESSAGES, [picture(56, 56)], length)
        reply = replies(tokens, GAZE, None)
        ledger.take(reply)
        training.add_turn(reply.token_ids or (), [0.0] * len(reply.token_ids or ()))
        observation = Observation("", picture(56, 28 * randomly.randrange(2, 5)))
        assert ledger.add_observation(observation) == training.add_observation(observation)
        assert ledger.prompts_differing is None, "this server does not tell its prompts"


def test_special_tokens_at_the_end_are_no_text(processor: Any) -> None:
    tokens = PolicyTokens(processor)
    ids = processor.tokenizer.encode(GAZE + "<|im_end|>", add_special_tokens=False)
    conversation = Conversation(tokens, MESSAGES, [picture(56, 56)], 200)
    assert conversation.take(Completion(token_ids=ids)) == (GAZE, len(ids))
    assert conversation.take(Completion(token_ids=[])) == ("", 0)
    assert conversation.take(Completion(GAZE)) == (GAZE, len(ids) - 1)
    assert set(tokens.placeholder_ids) == {
        processor.tokenizer.convert_tokens_to_ids(token) for token in ("<|image_pad|>", "<|video_pad|>")
    }


def test_the_rules_follow_the_processor(processor: Any) -> None:
    tokens = PolicyTokens(processor)
    tokens.side = 32
    rules = tokens.rules(EpisodeSettings())
    assert (rules.view.multiple, rules.crop.multiple) == (32, 32)


def test_usage_is_counted_from_the_first_prompt_on() -> None:
    ledger = UsageBudget(100)
    assert ledger.room == 100
    ledger.take(Completion("a", prompt_tokens=500, completion_tokens=30))
    assert ledger.room == 70
    assert ledger.add_observation(Observation("", None))
    ledger.take(
        Completion("b", prompt_tokens=550, completion_tokens=50)
    )  # 20 of the observation, 50 written: all of the 100
    assert ledger.room == 0
    assert not ledger.add_observation(Observation("", None))


def test_a_folder_without_a_processor_is_named(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match=str(tmp_path)):
        load_tokens(str(tmp_path))
