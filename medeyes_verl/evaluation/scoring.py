"""From a row and what happened on it to one logged episode: the scorer of training, and published rules beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medeyes_verl.evaluation.episode_log import Scores, region_of
from medeyes_verl.gaze.trace import EpisodeTrace
from medeyes_verl.reward.answer import polarity
from medeyes_verl.reward.compose import RewardSettings, reward
from medeyes_verl.reward.published_rules import (
    llava_med_closed,
    llava_med_recall,
    medevalkit_closed,
    medevalkit_open,
)


def score(
    trace: EpisodeTrace, ground_truth: str, question_type: str, options: Sequence[str], settings: RewardSettings
) -> Scores:
    """All scores of one episode. Raises ValueError where the row cannot be scored (see `reward`)."""
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
