"""From a row and what happened on it to one logged episode: the scorer of training, and published rules beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medeyes_verl.evaluation.episode_log import Scores, region_of
from medeyes_verl.gaze.trace import EpisodeTrace
from medeyes_verl.reward.answer import polarity
from medeyes_verl.reward.compose import RewardSettings, reward
from medeyes_verl.reward.parts import RowFacts, ScoreError, score_parts
from medeyes_verl.reward.published_rules import (
    llava_med_closed,
    llava_med_recall,
    medevalkit_closed,
    medevalkit_open,
)


@dataclass(frozen=True, slots=True)
class OwnParts:
    """What the user's own reward parts say of an episode, or why they do not."""

    scores: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None


async def own_parts(row: Mapping[str, Any], trace: EpisodeTrace, settings: RewardSettings) -> OwnParts:
    """Call the parts of `reward.medeyes.parts`, those of training. An error of one is kept, to be counted."""
    try:
        scored = await score_parts(settings.parts, trace, reward_facts(row))
    except ScoreError as error:
        return OwnParts(error=str(error))
    return OwnParts(scored.scores)


def reward_facts(row: Mapping[str, Any]) -> RowFacts:
    """Return what a reward part is told of a row of a prepared table."""
    extra = row["extra_info"]
    truth, options = row["reward_model"]["ground_truth"], tuple(extra.get("options") or ())
    return RowFacts(truth, extra["question_type"], options, row["data_source"], extra)


def score(
    trace: EpisodeTrace,
    ground_truth: str,
    question_type: str,
    options: Sequence[str],
    settings: RewardSettings,
    own: OwnParts | None = None,
) -> Scores:
    """All scores of one episode. Raises ValueError where the row cannot be scored (see `reward`)."""
    own = own or OwnParts()
    parts = reward(trace, ground_truth, question_type, options, settings)
    medevalkit: float | None = None
    llava_med: float | None = None
    if question_type != "multiple_choice":
        yes_no = question_type == "closed" and polarity(ground_truth) is not None
        closed_or_open = medevalkit_closed if yes_no else medevalkit_open
        medevalkit = float(closed_or_open(trace.answer, ground_truth))
        recall = llava_med_closed if yes_no else llava_med_recall
        llava_med = float(recall(trace.answer, ground_truth))
    return Scores(
        acc=parts.exact_match,
        r_acc=parts.r_acc,
        r_grammar=parts.r_grammar,
        r_div=parts.r_div,
        token_f1=parts.token_f1,
        medevalkit=medevalkit,
        llava_med_recall=llava_med,
        parts=dict(own.scores),
        error=own.error,
    )


def row_facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a logged episode that come from its row of the table."""
    extra = row["extra_info"]
    return {
        "id": extra["id"],
        "data_source": row["data_source"],
        "split": extra["split"],
        "question": extra["question"],
        "question_type": extra["question_type"],
        "options": tuple(extra["options"] or ()),
        "ground_truth": row["reward_model"]["ground_truth"],
        "images": tuple(row["images"]),
        "organ": extra["organ"],
        "modality": extra["modality"],
        "location": extra["location"],
        "regions": tuple(region_of(region) for region in extra["regions"] or ()),
    }
