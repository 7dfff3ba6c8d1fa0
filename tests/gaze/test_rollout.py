"""The one rollout: turns until the episode is over, a budget, a policy that runs out or fails, threads."""

import asyncio
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medeyes_verl.gaze.crop import PixelBounds
from medeyes_verl.gaze.episode import Episode, EpisodeSettings, Observation
from medeyes_verl.gaze.rollout import Budgeted, Completion, rollout, turns_of
from medeyes_verl.gaze.trace import EpisodeTrace
from medeyes_verl.policies.stored import StoredPolicy

GAZE = '<reasoning>look</reasoning>\n<action>{"name": "Gaze", "coordinate": [14, 28, 42, 56]}</action>'
BAD = "nonsense"
ANSWER = "<reasoning>seen</reasoning>\n<answer>ring</answer>"
TINY = PixelBounds(max_pixels=112 * 112)
SETTINGS = EpisodeSettings(max_gazes=3, view=TINY, crop=TINY)
IMAGE = Image.fromarray(np.random.default_rng(0).integers(256, size=(448, 448, 3), dtype=np.uint8))


class Characters:
    """A conversation that counts a character as a token, and an observation as ten."""

    def __init__(self, length: int) -> None:
        self.room = length
        self.observations: list[Observation] = []

    def take(self, completion: Completion) -> tuple[str, int]:
        text = completion.text[: self.room]
        self.room -= len(text)
        return text, len(text)

    def add_observation(self, observation: Observation) -> bool:
        if self.room <= 10:
            return False
        self.room -= 10
        self.observations.append(observation)
        return True


def run(texts: Iterable[str], length: int = 10_000, in_thread: bool = False) -> EpisodeTrace:
    return asyncio.run(
        rollout(Episode([IMAGE], SETTINGS), Characters(length), StoredPolicy(texts), in_thread=in_thread)
    )


@pytest.mark.parametrize("in_thread", [False, True])
def test_turns_until_the_answer(in_thread: bool) -> None:
    trace = run([GAZE, BAD, ANSWER, GAZE], in_thread=in_thread)
    assert [turn.text for turn in trace.turns] == [GAZE, BAD, ANSWER]
    assert [turn.num_tokens for turn in trace.turns] == [len(GAZE), len(BAD), len(ANSWER)]
    assert (trace.answer, trace.finish, trace.num_gazes) == ("ring", "answered", 1)


def test_a_policy_that_runs_out_leaves_a_truncated_episode() -> None:
    trace = run([GAZE])
    assert (trace.finish, trace.num_turns, trace.num_gazes) == ("truncated", 1, 1)


@pytest.mark.parametrize(
    ("length", "turns", "finish"),
    [
        (len(GAZE) + 10, 1, "truncated"),  # the observation would leave no token
        (len(GAZE) + 11, 2, "truncated"),  # one token of a second turn
        (len(GAZE) + 10 + len(ANSWER), 2, "answered"),  # to the last token
        (len(GAZE) + 9 + len(ANSWER), 2, "truncated"),  # the answer is cut
        (0, 0, "truncated"),
    ],
)
def test_the_budget_cuts(length: int, turns: int, finish: str) -> None:
    trace = run([GAZE, ANSWER], length)
    assert (trace.num_turns, trace.finish) == (turns, finish)


def test_what_the_policy_raises_passes_through_and_the_episode_can_be_truncated() -> None:
    class Gone:
        async def next_turn(self, conversation: Budgeted) -> Completion:
            raise ConnectionError("gone")

    episode = Episode([IMAGE], SETTINGS)
    with pytest.raises(ConnectionError, match="gone"):
        asyncio.run(rollout(episode, Characters(100), Gone()))
    episode.truncate()
    assert episode.trace.num_turns == 0


def test_each_turn_is_seen_as_it_comes() -> None:
    async def collect() -> list[tuple[str, bool]]:
        turns = turns_of(Episode([IMAGE], SETTINGS), Characters(1_000), StoredPolicy([GAZE, ANSWER]))
        return [(turn.text, observation is not None) async for turn, observation in turns]

    assert asyncio.run(collect()) == [(GAZE, True), (ANSWER, False)]


@given(st.lists(st.sampled_from([GAZE, BAD, ANSWER, "<action>{}</action>", ""]), max_size=6), st.integers(0, 600))
def test_it_always_ends_and_the_trace_holds_together(texts: list[str], length: int) -> None:
    trace = run(texts, length)
    assert trace.num_turns <= SETTINGS.max_gazes + 1
    assert trace.num_tokens <= length
    assert len(trace.boxes) == len(trace.images) == len(trace.modes) == trace.num_gazes
    assert (trace.answer is not None) == (trace.finish == "answered")
    assert EpisodeTrace.from_dict(trace.as_dict()) == trace
    assert all(turn.feedback is not None for turn in trace.turns[:-1])
