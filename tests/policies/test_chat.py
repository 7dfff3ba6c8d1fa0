"""What is sent: the words of the agent loop, the sampling in full, and the pixels unchanged."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from medeyes_verl.gaze.episode import Observation
from medeyes_verl.policies.chat import Requests, Sampling, with_stop_string
from medeyes_verl.policies.chat_conversation import chat_messages, feedback

REQUESTS = Requests(model="m", turn_tokens=64, sampling=Sampling())


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("<reasoning>a</reasoning>\n<action>{}", "<reasoning>a</reasoning>\n<action>{}</action>"),
        ("<reasoning>a</reasoning>\n<answer>yes", "<reasoning>a</reasoning>\n<answer>yes</answer>"),
        ("<answer>yes</answer>", "<answer>yes</answer>"),
        ("<action>{}</action> <answer>no", "<action>{}</action> <answer>no</answer>"),
        ("no tag at all", "no tag at all"),
        ("", ""),
    ],
)
def test_a_stop_string_left_off_is_put_back(text: str, closed: str) -> None:
    assert with_stop_string(text) == closed


def test_all_of_the_sampling_is_said() -> None:
    greedy = REQUESTS.body([], 12, "key")
    assert (greedy["temperature"], greedy["top_p"], greedy["max_tokens"]) == (0.0, 1.0, 12)
    assert greedy["stop"] == ["</action>", "</answer>"]
    assert greedy["repetition_penalty"] == 1.0
    assert "seed" not in greedy
    plain = replace(REQUESTS, extensions=False).body([], 12, "key")
    assert set(plain) == {"model", "messages", "max_tokens", "temperature", "top_p", "stop"}
    banned = replace(REQUESTS, never=[7]).body([], 12, "key")
    assert banned["logit_bias"] == {"7": -100}


def test_a_seed_belongs_to_the_run_the_question_and_the_turn() -> None:
    sampled = replace(REQUESTS, sampling=Sampling(temperature=1.0))
    other = replace(REQUESTS, sampling=Sampling(temperature=1.0, seed=1))
    seeds = [requests.body([], 1, key)["seed"] for requests in (sampled, other) for key in ("q/0/1", "q/0/3", "q/1/1")]
    assert len(set(seeds)) == 6
    assert sampled.body([], 1, "q/0/1")["seed"] == seeds[0]


@pytest.mark.parametrize("wrong", [{"temperature": -0.1}, {"temperature": 11}, {"top_p": 0}, {"top_p": 1.1}])
def test_senseless_sampling_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="temperature from 0 to 10"):
        Sampling(**wrong)  # type: ignore[arg-type]


def test_a_picture_arrives_as_it_was() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(256, size=(28, 56, 3), dtype=np.uint8))
    messages = [
        {"role": "system", "content": "rules"},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "why?"}]},
    ]
    sent = chat_messages(messages, [picture])
    assert sent[0] == messages[0]
    assert sent[1]["content"][1] == {"type": "text", "text": "why?"}
    head, _, data = sent[1]["content"][0]["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as arrived:
        assert np.array_equal(np.asarray(arrived), np.asarray(picture))


def test_feedback_is_worded_as_in_training() -> None:
    assert feedback(Observation("Tiny box.", None)) == [{"type": "text", "text": "<feedback>Tiny box.</feedback>"}]
    before, picture, after = feedback(Observation("", Image.new("RGB", (28, 28))))
    assert (before["text"], picture["type"], after["text"]) == ("<feedback>", "image_url", "</feedback>")
