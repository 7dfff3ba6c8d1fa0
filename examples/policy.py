"""A policy of your own: it looks at the middle of the first image, then gives the answer most such questions have.

    medeyes-verl evaluate examples/policy.py:Prior --data DATA/test.parquet --recipe qwen2_5_vl_3b \
        --policy-settings examples/policy.yaml
"""

from typing import Any

from medeyes_verl.gaze.geometry import Box
from medeyes_verl.gaze.grammar import Turn, render_turn
from medeyes_verl.gaze.rollout import Completion
from medeyes_verl.policies.chat_conversation import ChatConversation


class Prior:
    """Made once, asked for the turns of all episodes: what it knows of one is the conversation."""

    def __init__(self, closed: str = "no", lettered: str = "A", otherwise: str = "lung") -> None:
        self.closed, self.lettered, self.otherwise = closed, lettered, otherwise

    async def next_turn(self, conversation: ChatConversation) -> Completion:
        if not any(message["role"] == "assistant" for message in conversation.messages):
            return Completion(render_turn(Turn("I begin in the middle.", Box(28, 28, 84, 84))))
        return Completion(render_turn(Turn("Most questions like this one end so.", answer=self._answer(conversation))))

    def _answer(self, conversation: ChatConversation) -> str:
        question = _text(next(each for each in conversation.messages if each["role"] == "user"))
        if "\nA." in question:
            return self.lettered
        return self.closed if question.split()[0].lower() in ("is", "are", "does", "do") else self.otherwise


def _text(message: dict[str, Any]) -> str:
    """Return the words of a message, whose content is a text or a list of parts as OpenAI's endpoints take them."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
