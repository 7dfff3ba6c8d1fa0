"""An episode that an expert begins and the policy goes on with."""

from collections.abc import Sequence

from medeyes_verl.gaze.conversation import Conversation
from medeyes_verl.gaze.rollout import Completion, Policy


class PrefixPolicy:
    """Replays the first turns of an expert trajectory, then lets the policy write the rest.

    At least one turn, the one that answers, is left to the policy: a trajectory replayed to its end would be an
    expert's row and no prefix.
    """

    def __init__(self, texts: Sequence[str], num_turns: int, then: Policy[Conversation]) -> None:
        self._texts = list(texts[: min(num_turns, len(texts) - 1)])
        self._played = 0
        self._then = then
        self.expert_tokens: int | None = None
        """Leading tokens of the response that are not the policy's, observations between the expert's turns included;
        None until the policy is asked."""

    async def next_turn(self, conversation: Conversation) -> Completion:
        if self._played < len(self._texts):
            self._played += 1
            return Completion(self._texts[self._played - 1])
        if self.expert_tokens is None:
            self.expert_tokens = len(conversation.response_ids)
        return await self._then.next_turn(conversation)
