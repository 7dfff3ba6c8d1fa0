"""What the benchmark asks for, from both sides: a policy that cannot crop must stay near chance, and one whose first
gaze is led to the right place must score near 100. Both in plain torch, outside veRL."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from medeyes_verl.data.row import prompt_messages, read_rows
from medeyes_verl.expert.framing import GRID_FRAMING
from medeyes_verl.expert.question import Question
from medeyes_verl.expert.trajectory import ExpertStep, Trajectory, turn_texts
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.tiny.examples import ExpertRow, corpus
from medeyes_verl.tiny.model import TINY_EPISODE, TinyShape, build_model, build_processor
from medeyes_verl.tiny.play import Score, play, score
from medeyes_verl.tiny.tokenizer import train_tokenizer
from medeyes_verl.tiny.warmup import Progress, WarmupSettings, warm_up

ROLLOUTS = 2
"""Games a question."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Scores of the two, over the same questions."""

    no_gaze: Score
    """A fresh policy that learnt to answer from the view alone, for as many steps as the warm-up has."""
    led: Score
    """The warmed-up policy, its first gaze put on the lesion."""


def measure(policy: Path, train: Path, val: Path, steps: int, on_step: Callable[[Progress], None]) -> Bounds:
    """Train the one that cannot crop, and play both on `val`."""
    return Bounds(no_gaze=_without_gaze(train, val, steps, on_step), led=_led(policy, val))


def _without_gaze(train: Path, val: Path, steps: int, on_step: Callable[[Progress], None]) -> Score:
    rows = []
    for row in read_rows(train):
        question = Question.from_row(row)
        guess = Trajectory(question.expert_id, (), "scan", question.ground_truth, True, "no_gaze")
        rows.append(ExpertRow(question, prompt_messages(row), (guess,)))
    tokenizer = train_tokenizer(corpus(rows, TINY_EPISODE))
    model = build_model(tokenizer, TinyShape(), seed=0)
    processor = build_processor(tokenizer)
    settings = WarmupSettings(minutes=24 * 60, max_steps=steps)
    warm_up(model, PolicyTokens(processor), rows, TINY_EPISODE, settings, on_step)
    return score(play(model, processor, list(read_rows(val)), TINY_EPISODE, ROLLOUTS))


def _led(policy: Path, val: Path) -> Score:
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(policy)
    processor = AutoProcessor.from_pretrained(policy)
    return score(play(model, processor, list(read_rows(val)), TINY_EPISODE, ROLLOUTS, opening=_gaze_at_target))


def _gaze_at_target(question: Question) -> str:
    """The turn that an expert without jitter writes to look at the target."""
    target = next(region.box for region in question.regions if region.target)
    box = replace(GRID_FRAMING, jitter=0.0).gaze(target, question.image_sizes[0], 0, random.Random(0))
    alone = Trajectory(question.expert_id, (ExpertStep("scan", box),), "seen", "seen", True, "led")
    return turn_texts(alone, TINY_EPISODE, question.image_sizes)[0]
