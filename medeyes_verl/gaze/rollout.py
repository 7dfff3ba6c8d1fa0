"""The rollout: one episode with one policy. The only loop over turns in this project.

Training, evaluation, demo, warm-up and replay differ in who writes the turns (a policy) and in how tokens are counted
(a conversation). Both are passed in; what happens between them is here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from medeyes_verl.gaze.episode import Episode, Observation
from medeyes_verl.gaze.trace import EpisodeTrace, TraceTurn


class PolicyExhaustedError(Exception):
    """The policy has no further turn, such as a stored trajectory that was read to its end."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What a policy wrote for one turn: token ids, or the text where the ids are not known."""

    text: str = ""
    """Read where `token_ids` is None."""
    token_ids: Sequence[int] | None = None
    log_probs: Sequence[float] | None = None
    """Log-probability of each token; None counts as 0, which is what π_expert = 1 means."""
    prompt_ids: Sequence[int] | None = None
    """What the policy was fed, where it tells."""
    prompt_tokens: int = 0
    """Tokens the policy was fed, by its own count."""
    completion_tokens: int = 0
    """Tokens it wrote, by its own count; read where `token_ids` is None."""


class Budgeted(Protocol):
    """A conversation as the rollout needs it: it takes turns and observations, and knows what still fits."""

    @property
    def room(self) -> int:
        """Tokens the response may still grow."""

    def take(self, completion: Completion) -> tuple[str, int]:
        """Append the model's turn, cut to the room; return the text that was kept and its number of tokens."""

    def add_observation(self, observation: Observation) -> bool:
        """Append an observation whole; False when no further token of the model would fit after it."""


C = TypeVar("C", bound=Budgeted)
C_read = TypeVar("C_read", bound=Budgeted, contravariant=True)


class Policy(Protocol[C_read]):
    """Who writes the turns: a veRL server, a stored trajectory, an endpoint, a script."""

    async def next_turn(self, conversation: C_read) -> Completion:
        """Write the next turn. Raises PolicyExhaustedError when there is none."""


async def turns_of(
    episode: Episode, conversation: C, policy: Policy[C], *, in_thread: bool = False
) -> AsyncIterator[tuple[TraceTurn, Observation | None]]:
    """Run an episode and yield each turn with the observation it got, None for the last.

    Args:
        episode: one that has not begun; it is over when the iterator ends.
        conversation: holds the prompt of the same episode.
        policy: writes the turns. Any error of its own passes through; the episode is then not over.
        in_thread: crop and encode in a worker thread, so that other episodes of this event loop go on meanwhile.
    """

    def respond(text: str, num_tokens: int) -> Observation | None:
        observation = episode.reply(text, num_tokens)
        if observation is not None and not conversation.add_observation(observation):
            episode.truncate()
        return observation

    while not episode.over:
        if conversation.room < 1:
            episode.truncate()
            return
        try:
            completion = await policy.next_turn(conversation)
        except PolicyExhaustedError:
            episode.truncate()
            return
        text, num_tokens = conversation.take(completion)
        if in_thread:
            observation = await asyncio.to_thread(respond, text, num_tokens)
        else:
            observation = respond(text, num_tokens)
        yield episode.turns[-1], observation


async def rollout(episode: Episode, conversation: C, policy: Policy[C], *, in_thread: bool = False) -> EpisodeTrace:
    """Run an episode to its end and return its trace; arguments and errors as in `turns_of`."""
    async for _ in turns_of(episode, conversation, policy, in_thread=in_thread):
        pass
    return episode.trace
