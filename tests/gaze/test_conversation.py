"""The conversation: token for token what tokenising it whole gives, masks, room, and nothing done twice."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medeyes_verl.gaze.conversation import Conversation
from medeyes_verl.gaze.crop import PixelBounds
from medeyes_verl.gaze.episode import Episode, EpisodeSettings, Observation

TINY = PixelBounds(56 * 56, 112 * 112)
SETTINGS = EpisodeSettings(view=TINY, crop=TINY)
PICTURE = Image.linear_gradient("L").resize((448, 448)).convert("RGB")
PROMPT = [
    {"role": "system", "content": "Look closely."},
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is the lesion?"}]},
]
THOUGHT = "<reasoning>scan</reasoning>\n"
GAZE = THOUGHT + '<action>{"name": "Gaze", "coordinate": [14, 28, 42, 56]}</action>'
WIDE = THOUGHT + '<action>{"name": "Gaze", "coordinate": [0, 0, 112, 50]}</action>'
ANSWER = THOUGHT + "<answer>ring</answer>"
END = "<|im_end|>"


def tokens(processor: Any, text: str) -> list[int]:
    return processor.tokenizer.encode(text, add_special_tokens=False)


def play(
    processor: Any, turns: list[str], response_length: int = 10_000
) -> tuple[Conversation, list[dict], list[Image.Image]]:
    """Play the turns; the conversation, and the same as messages with their pictures."""
    episode = Episode([PICTURE], SETTINGS)
    conversation = Conversation(processor, PROMPT, episode.views, response_length)
    messages, pictures = list(PROMPT), list(episode.views)
    for text in turns:
        ids = tokens(processor, text)
        if not conversation.add_turn(ids, [-0.5] * len(ids)):
            break
        said = text.removesuffix(END)
        messages.append({"role": "assistant", "content": said})
        observation = episode.reply(said)
        if observation is None or not conversation.add_observation(observation):
            break
        content: list[dict] = [{"type": "text", "text": "<feedback>"}]
        if observation.picture is not None:
            pictures.append(observation.picture)
            content.append({"type": "image"})
        content.append({"type": "text", "text": observation.text + "</feedback>"})
        messages.append({"role": "user", "content": content})
    return conversation, messages, pictures


def whole(processor: Any, messages: list[dict], pictures: list[Image.Image]) -> list[int]:
    text = processor.apply_chat_template(messages, add_generation_prompt=messages[-1]["role"] == "user", tokenize=False)
    if messages[-1]["role"] == "assistant":
        text = text.removesuffix(END + "\n")
    return processor(text=[text], images=pictures)["input_ids"][0]


turns = st.lists(
    st.sampled_from([GAZE, WIDE, GAZE + END, "nonsense", "nonsense" + END, THOUGHT + "<answer></answer>"]), max_size=4
)


@given(turns=turns)
def test_tokens_are_those_of_the_whole_conversation(processor: Any, turns: list[str]) -> None:
    conversation, messages, pictures = play(processor, [*turns, ANSWER])
    assert conversation.prompt_ids + conversation.response_ids == whole(processor, messages, pictures)
    assert [picture.tobytes() for picture in conversation.pictures] == [picture.tobytes() for picture in pictures]


def test_masks_and_log_probs_tell_the_model_from_the_environment(processor: Any) -> None:
    conversation, _, _ = play(processor, [GAZE, GAZE + END, "nonsense", ANSWER])
    assert len(conversation.response_ids) == len(conversation.response_mask) == len(conversation.log_probs)
    pairs = list(zip(conversation.response_ids, conversation.response_mask, strict=True))
    spoken = [tokens(processor, text) for text in (GAZE, GAZE + END, "nonsense", ANSWER)]
    assert [token for token, mask in pairs if mask] == [token for ids in spoken for token in ids]
    assert conversation.log_probs == [-0.5 if mask else 0.0 for mask in conversation.response_mask]
    others = [token for token, mask in pairs if not mask]
    feedback = "<|im_start|>user\n<feedback>{}</feedback><|im_end|>\n<|im_start|>assistant\n"
    shown = feedback.format("<|vision_start|>" + "<|image_pad|>" * 16 + "<|vision_end|>")
    said = feedback.format("Nothing done. Write one action or one answer.")
    # The second turn had ended itself: only the line break is added.
    assert processor.tokenizer.decode(others) == f"<|im_end|>\n{shown}\n{shown}<|im_end|>\n{said}"


def picture_tokens(processor: Any, conversation: Conversation) -> int:
    return (conversation.prompt_ids + conversation.response_ids).count(processor.image_token_id)


@given(turns=turns, response_length=st.integers(0, 600))
def test_the_response_never_outgrows_its_length(processor: Any, turns: list[str], response_length: int) -> None:
    conversation, _, _ = play(processor, [*turns, ANSWER], response_length)
    assert len(conversation.response_ids) + conversation.room == response_length
    assert conversation.room >= 0
    assert len(conversation.response_ids) == len(conversation.response_mask) == len(conversation.log_probs)
    expected = sum(picture.width * picture.height // 28**2 for picture in conversation.pictures)
    assert picture_tokens(processor, conversation) == expected, "a picture is there whole or not at all"
    if conversation.response_mask and not conversation.response_mask[-1]:
        assert conversation.room >= 1, "after an observation the model can write"


def test_room_is_exact(processor: Any) -> None:
    ids = tokens(processor, GAZE)
    observation = Observation("", PICTURE.resize((112, 112)))
    free = Conversation(processor, PROMPT, [PICTURE.resize((112, 112))], 10_000)
    free.add_turn(ids, [0.0] * len(ids))
    assert free.add_observation(observation)
    needed = len(free.response_ids)

    tight = Conversation(processor, PROMPT, [PICTURE.resize((112, 112))], needed)
    assert tight.add_turn(ids, [0.0] * len(ids))
    assert not tight.add_observation(observation), "no token would be left for the model"
    assert tight.response_ids == ids
    assert len(tight.pictures) == 1

    enough = Conversation(processor, PROMPT, [PICTURE.resize((112, 112))], needed + 1)
    enough.add_turn(ids, [0.0] * len(ids))
    assert enough.add_observation(observation)
    assert enough.room == 1
    assert not enough.add_turn([5, 6, 7], [-1.0, -2.0, -3.0]), "cut to the room"
    assert (enough.room, enough.response_ids[-1], enough.log_probs[-1]) == (0, 5, -1.0)


def test_each_picture_is_encoded_once(processor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    rendered: list[int] = []
    call, template = type(processor).__call__, type(processor).apply_chat_template

    def counting_call(self: Any, *, text: list[str], images: list[Image.Image] | None) -> Any:
        seen.append(len(images or []))
        return call(self, text=text, images=images)

    def counting_template(self: Any, *args: Any, **kwargs: Any) -> Any:
        rendered.append(1)
        return template(self, *args, **kwargs)

    play(processor, [ANSWER])  # the wrapper is known from here on
    monkeypatch.setattr(type(processor), "__call__", counting_call)
    monkeypatch.setattr(type(processor), "apply_chat_template", counting_template)
    conversation, _, _ = play(processor, [GAZE, WIDE, "nonsense", GAZE, ANSWER])
    assert seen == [1, 1, 1, 0, 1]
    assert len(conversation.pictures) == 4
    assert len(rendered) == 1, "the prompt; the wrapper was derived before"


def test_places_and_pictures_must_match(processor: Any) -> None:
    with pytest.raises(ValueError, match="places for 1 pictures, but 2 were given"):
        Conversation(processor, PROMPT, [PICTURE, PICTURE], 100)
    forged = [{"role": "user", "content": "<|vision_start|><|image_pad|><|vision_end|> What is it?"}]
    with pytest.raises(ValueError, match="places for 1 pictures, but 0 were given"):
        Conversation(processor, forged, [], 100)


def test_tokens_and_log_probs_must_match(processor: Any) -> None:
    conversation = Conversation(processor, PROMPT, [PICTURE.resize((112, 112))], 100)
    with pytest.raises(ValueError, match="2 tokens came with 1 log-probabilities"):
        conversation.add_turn([1, 2], [0.0])


class Templated:
    """A processor with another chat template; encodes characters."""

    tokenizer = type("Tokenizer", (), {"all_special_ids": (ord("¶"),)})()

    def __init__(self, template: str) -> None:
        self.template = template

    def apply_chat_template(self, conversation: Any, *, add_generation_prompt: bool, tokenize: bool) -> str:
        from jinja2 import Template

        return Template(self.template).render(messages=conversation, add_generation_prompt=add_generation_prompt)

    def __call__(self, *, text: list[str], images: Any) -> dict[str, Any]:
        return {"input_ids": [[ord(letter) for letter in text[0]]]}


SIMPLE = """\
{%- for m in messages %}[{{ m.role }}]{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}\
{{ '▢' if p.type == 'image' else p.text }}{% endfor %}{% endif %}¶{% endfor %}\
{% if add_generation_prompt %}[assistant]<think>{% endif %}"""


def test_the_wrapper_comes_from_the_template() -> None:
    processor = Templated(SIMPLE)
    conversation = Conversation(processor, [{"role": "user", "content": [{"type": "image"}]}], [PICTURE], 1000)
    conversation.add_turn([ord("a"), ord("¶")], [0.0, 0.0])
    conversation.add_observation(Observation("Nothing done.", None))
    conversation.add_turn([ord("b")], [0.0])
    conversation.add_observation(Observation("", PICTURE))
    assert "".join(map(chr, conversation.prompt_ids)) == "[user]▢¶[assistant]<think>"
    assert "".join(map(chr, conversation.response_ids)) == (
        "a¶[user]<feedback>Nothing done.</feedback>¶[assistant]<think>b¶[user]<feedback>▢</feedback>¶[assistant]<think>"
    )


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (SIMPLE.replace("p.text", "p.text | lower"), "does not keep the texts"),
        (SIMPLE.replace("{{ m.content }}", ""), "does not keep the texts"),
        (SIMPLE.replace("'▢'", "''"), "no place for a picture"),
        (SIMPLE.replace("¶", "\n"), "does not end a turn with a special token"),
        (
            "{% for m in messages %}{{ m.content if m.content is string else 'MARKBEFORE▢MARKAFTER' }}{% endfor %}",
            "special token",
        ),
    ],
)
def test_a_template_of_another_kind_is_refused(template: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Conversation(Templated(template), PROMPT, [PICTURE], 100)
