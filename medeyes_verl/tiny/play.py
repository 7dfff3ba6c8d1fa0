"""Let a policy play the real episode in batches through transformers, and count how it does.

Small and quick: a look at what a warm-up has taught, where a full evaluation would need vLLM.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from medeyes_verl.data.row import prompt_messages
from medeyes_verl.expert.question import Question
from medeyes_verl.gaze.conversation import Conversation
from medeyes_verl.gaze.crop import open_picture
from medeyes_verl.gaze.episode import Episode, EpisodeSettings
from medeyes_verl.gaze.geometry import Box
from medeyes_verl.gaze.grammar import STOP_STRINGS
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.gaze.rollout import Completion, rollout
from medeyes_verl.gaze.trace import EpisodeTrace
from medeyes_verl.reward.answer import is_correct
from medeyes_verl.tiny.tokenizer import END_OF_TURN, IMAGE, VIDEO

MAX_TURN_TOKENS = 48
"""Three times an action of the tiny tokenizer."""
MAX_RESPONSE_TOKENS = 1024
BATCH_SIZE = 96
ON_TARGET = 0.5
"""Share of the target that a gaze must hold to count as having found it."""


@dataclass(frozen=True, slots=True)
class Game:
    """One rollout: what happened and whether it was right."""

    id: str
    """Of the row."""
    question: Question
    trace: EpisodeTrace
    correct: bool

    def found(self, gazes: int | None = None) -> bool | None:
        """Whether any (or any of the first `gazes`) gazes zoomed in on the target; None where the data marks none."""
        targets = [region.box for region in self.question.regions if region.target]
        if not targets:
            return None
        seen = list(zip(self.trace.boxes, self.trace.modes, strict=True))[:gazes]
        drills = [box for box, mode in seen if mode == "drill"]
        return any(_share_inside(target, box) >= ON_TARGET for target in targets for box in drills)


@dataclass(frozen=True, slots=True)
class Score:
    """Shares over games, 0..1."""

    well_formed: float
    accuracy: float
    gazes: float
    """Gazes a game."""
    found: float | None
    """Share of games in which a gaze zoomed in on the target; None where the data marks none."""
    found_first: float | None
    """The same for the first gaze."""
    mixed: float | None
    """Share of questions with both right and wrong games, the ones RL learns from; None for one game a question."""


def score(games: Sequence[Game]) -> Score:
    """Summarise games; those of one question are taken as a group."""
    groups: dict[str, list[bool]] = {}
    for game in games:
        groups.setdefault(game.id, []).append(game.correct)
    return Score(
        well_formed=_mean([game.trace.well_formed for game in games]) or 0.0,
        accuracy=_mean([game.correct for game in games]) or 0.0,
        gazes=sum(len(game.trace.boxes) for game in games) / len(games),
        found=_mean([game.found() for game in games]),
        found_first=_mean([game.found(1) for game in games]),
        mixed=_mean([len(set(group)) == 2 for group in groups.values()]) if len(games) > len(groups) else None,
    )


def play(
    model: Any,
    processor: Any,
    rows: Sequence[Mapping[str, Any]],
    settings: EpisodeSettings,
    rollouts: int = 1,
    temperature: float = 1.0,
    seed: int = 0,
    opening: Callable[[Question], str] | None = None,
) -> list[Game]:
    """Play each row `rollouts` times; a `temperature` of 0 is greedy.

    `rows` are as `read_rows` gives them, `processor` is the Hugging Face one. With `opening` the first turn is what it
    says, and the policy's own turns come after it.
    """
    tokens = PolicyTokens(processor)
    torch.manual_seed(seed)
    games: list[Game] = []
    waiting = [row for row in rows for _ in range(rollouts)]
    for start in range(0, len(waiting), BATCH_SIZE):
        batch = waiting[start : start + BATCH_SIZE]
        policy = BatchPolicy(model, processor, temperature, len(batch), opening)
        games += asyncio.run(_play_batch(batch, settings, tokens, policy))
    return games


async def _play_batch(
    rows: Sequence[Mapping[str, Any]], settings: EpisodeSettings, tokens: PolicyTokens, policy: BatchPolicy
) -> list[Game]:
    async def one(row: Mapping[str, Any]) -> Game:
        question = Question.from_row(row)
        episode = Episode([open_picture(path) for path in row["images"]], settings)
        conversation = Conversation(tokens, prompt_messages(row), episode.views, MAX_RESPONSE_TOKENS)
        opening = policy.opening_of(question)
        trace = await rollout(episode, conversation, _Opened(policy, opening))
        policy.leave()
        right = trace.answer is not None and is_correct(
            trace.answer, question.ground_truth, question.question_type, question.options
        )
        return Game(row["extra_info"]["id"], question, trace, right)

    return await asyncio.gather(*(one(row) for row in rows))


class BatchPolicy:
    """A model whose turns are generated for all waiting episodes at once: when each has asked for its next."""

    def __init__(
        self,
        model: Any,
        processor: Any,
        temperature: float,
        episodes: int,
        opening: Callable[[Question], str] | None = None,
    ) -> None:
        self._model, self._processor, self._temperature = model, processor, temperature
        self._episodes = episodes
        self._opening = opening
        self._asked: list[tuple[Conversation, asyncio.Future[list[int]]]] = []

    def opening_of(self, question: Question) -> str | None:
        """The first turn where it is given, in place of the model's."""
        return None if self._opening is None else self._opening(question)

    async def next_turn(self, conversation: Conversation) -> Completion:
        turn: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._asked.append((conversation, turn))
        self._generate_when_all_ask()
        return Completion(token_ids=await turn)

    def leave(self) -> None:
        """Say that one episode is over: nobody waits for it any more."""
        self._episodes -= 1
        self._generate_when_all_ask()

    def _generate_when_all_ask(self) -> None:
        if not self._asked or len(self._asked) < self._episodes:
            return
        asked, self._asked = self._asked, []
        turns = _generate(self._model, self._processor, [each for each, _ in asked], self._temperature)
        for (_, turn), ids in zip(asked, turns, strict=True):
            turn.set_result(ids)


class _Opened:
    """A policy whose first turn may be given."""

    def __init__(self, policy: BatchPolicy, opening: str | None) -> None:
        self._policy, self._opening = policy, opening

    async def next_turn(self, conversation: Conversation) -> Completion:
        if self._opening is None:
            return await self._policy.next_turn(conversation)
        opening, self._opening = self._opening, None
        return Completion(opening)


def _generate(
    model: Any, processor: Any, conversations: Sequence[Conversation], temperature: float
) -> Iterator[list[int]]:
    """The next turn of each conversation, up to its stop token."""
    tokenizer = processor.tokenizer
    prompts = [conversation.prompt_ids + conversation.response_ids for conversation in conversations]
    length = max(len(prompt) for prompt in prompts)
    padded = torch.tensor([[tokenizer.pad_token_id] * (length - len(prompt)) + prompt for prompt in prompts])
    attention = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    pictures = [picture for conversation in conversations for picture in conversation.pictures]
    stops = [tokenizer.convert_tokens_to_ids(token) for token in (*STOP_STRINGS, END_OF_TURN)]
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
    with torch.no_grad():
        out = model.generate(
            input_ids=padded,
            attention_mask=attention,
            mm_token_type_ids=(padded == tokenizer.convert_tokens_to_ids(IMAGE)).int(),
            **processor.image_processor(images=pictures, return_tensors="pt"),
            max_new_tokens=MAX_TURN_TOKENS,
            eos_token_id=stops,
            # As in veRL's rollouts: a placeholder written by the model would count as a picture in the next turn.
            suppress_tokens=tokenizer.convert_tokens_to_ids([IMAGE, VIDEO]),
            **(sampling or {"do_sample": False}),
        )
    for ids in out[:, length:].tolist():
        end = next((place for place, token in enumerate(ids) if token in stops), len(ids) - 1)
        yield ids[: end + 1]


def _share_inside(target: Box, box: Box) -> float:
    return target.intersection(box).area / target.area


def _mean(values: Sequence[bool | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
