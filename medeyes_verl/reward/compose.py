"""The reward of a trajectory: R(τ) = 0.7·r_acc + 0.2·r_grammar + 0.1·r_div (MedEyes, arXiv 2511.22018).

Reads the facts of the episode's trace; no text is parsed a second time. Every part is kept, to be logged on its own.
A reward function of the user's is one more part, added by who calls it (`RewardSettings.custom_weight`); so are parts
named by import path (`RewardSettings.parts`, medeyes_verl/reward/parts.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from medeyes_verl.gaze.trace import EpisodeTrace
from medeyes_verl.reward.answer import is_correct, token_f1
from medeyes_verl.reward.diversity import r_div
from medeyes_verl.reward.parts import PartSettings
from medeyes_verl.reward.structure import r_grammar
from medeyes_verl.settings.reader import Between, SettingError, check, shown

Weight = Annotated[float, Between(0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardSettings:
    """The weights of the parts, the paper's by default."""

    accuracy_weight: Weight = 0.7
    """Weight of r_acc."""
    grammar_weight: Weight = 0.2
    """Weight of r_grammar."""
    diversity_weight: Weight = 0.1
    """Weight of r_div."""
    custom_weight: Weight = 1.0
    """Weight of r_custom, what the user's own reward function returns; no part of R(τ) where there is none."""
    open_metric: Literal["exact", "token_f1"] = "exact"
    """r_acc of an open question: correct or incorrect (the paper), or the token F1."""
    parts: tuple[PartSettings, ...] = ()
    """Parts of the user's own, by import path: [{name: r_length, weight: 0.1, path: 'my_parts.py:r_length'}]."""
    diversity_when: Literal["always", "correct"] = "always"
    """When r_div counts: `always` (the paper), or with a `correct` answer only. In a group of incorrect answers r_div
    is all that varies, and the division by σ makes it as large as a correct answer (docs/method.md)."""

    def __post_init__(self) -> None:
        check(self)
        names = [part.name for part in self.parts]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise SettingError(f"parts[{place}].name", shown(name), "another part has this name: choose another")

    @property
    def needs_trace(self) -> bool:
        """Whether a part that reads the episode's record has a weight."""
        own = any(part.weight for part in self.parts)
        return bool(self.accuracy_weight or self.grammar_weight or self.diversity_weight or own)


@dataclass(frozen=True, slots=True)
class RewardParts:
    """The reward and what it is made of, each part in [0, 1] before its weight."""

    total: float
    """R(τ), the weighted sum."""
    r_acc: float
    """The answer is right, or its token F1 where the settings ask for it."""
    r_grammar: float
    """The structure holds strictly."""
    r_div: float
    """Diversity of the gazes; 0 for an incorrect answer where the settings count it with correct ones only."""
    exact_match: float
    """1 for a right answer, whatever the settings."""
    token_f1: float
    """Token F1 of the answer to an open question; the exact match for others."""

    @classmethod
    def zero(cls) -> RewardParts:
        """The reward of a trajectory that cannot be scored."""
        return cls(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

    def as_dict(self) -> dict[str, float]:
        """The parts by name."""
        return asdict(self)


def reward(
    trace: EpisodeTrace,
    ground_truth: str,
    question_type: str,
    options: Sequence[str] = (),
    settings: RewardSettings | None = None,
) -> RewardParts:
    """The reward of one finished episode.

    Raises ValueError for an unknown question type or a ground truth that is no letter of the options (see
    `medeyes_verl.reward.answer.is_correct`).
    """
    settings = settings or RewardSettings()
    exact = float(is_correct(trace.answer, ground_truth, question_type, options))
    f1 = token_f1(trace.answer, ground_truth) if question_type == "open" else exact
    accuracy = f1 if settings.open_metric == "token_f1" else exact
    counts = settings.diversity_when == "always" or exact == 1.0
    grammar, diversity = r_grammar(trace), r_div(trace.boxes, trace.images) if counts else 0.0
    total = (
        settings.accuracy_weight * accuracy + settings.grammar_weight * grammar + settings.diversity_weight * diversity
    )
    return RewardParts(total, accuracy, grammar, diversity, exact, f1)
