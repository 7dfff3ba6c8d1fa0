"""An expert begins an episode and the policy ends it: one conversation, and where the policy's part begins is known."""

import asyncio
from typing import Any

import pytest
from PIL import Image

from medeyes_verl.gaze.conversation import Conversation
from medeyes_verl.gaze.episode import Episode, EpisodeSettings
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.gaze.rollout import Completion, rollout
from medeyes_verl.plugin.prefix_policy import PrefixPolicy
from medeyes_verl.policies.stored import StoredPolicy
from medeyes_verl.tiny.model import TINY_EPISODE

LOOK = '<reasoning>scan</reasoning>\n<action>{"name": "Gaze", "coordinate": [0, 0, 56, 56]}</action>'
AGAIN = '<reasoning>empty</reasoning>\n<action>{"name": "Gaze", "coordinate": [56, 56, 112, 112]}</action>'
ANSWER = "<reasoning>ring seen</reasoning>\n<answer>ring</answer>"


class Told(StoredPolicy):
    """A policy that keeps what it was asked after."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__(texts)
        self.seen: list[int] = []

    async def next_turn(self, conversation: Any) -> Completion:
        self.seen.append(len(conversation.response_ids))
        return await super().next_turn(conversation)


def played(prepared: Any, num_turns: int, then: Told) -> tuple[PrefixPolicy, Conversation, Any]:
    from transformers import AutoProcessor

    tokens = PolicyTokens(AutoProcessor.from_pretrained(prepared.model))
    rules: EpisodeSettings = tokens.rules(TINY_EPISODE)
    episode = Episode([Image.new("RGB", (448, 448))], rules)
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}
    conversation = Conversation(tokens, [message], episode.views, response_length=300)
    policy = PrefixPolicy([LOOK, AGAIN, ANSWER], num_turns, then)
    return policy, conversation, asyncio.run(rollout(episode, conversation, policy))


@pytest.mark.parametrize("num_turns", [1, 2, 9])
def test_the_policy_goes_on_where_the_expert_stops(prepared: Any, num_turns: int) -> None:
    then = Told([AGAIN, ANSWER] if num_turns == 1 else [ANSWER])
    policy, conversation, trace = played(prepared, num_turns, then)
    assert [turn.text for turn in trace.turns] == [LOOK, AGAIN, ANSWER]
    assert trace.answer == "ring"
    assert policy.expert_tokens == then.seen[0]
    # the observation before the policy's turn is the expert's too; the first token after it is the policy's own
    assert conversation.response_mask[policy.expert_tokens - 1] == 0
    assert conversation.response_mask[policy.expert_tokens] == 1


def test_the_turn_that_answers_is_always_the_policys(prepared: Any) -> None:
    _, _, trace = played(prepared, 9, Told(["<reasoning>seen</reasoning>\n<answer>square</answer>"]))
    assert trace.answer == "square"
