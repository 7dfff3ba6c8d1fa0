"""From episodes to figures: per benchmark overall, by question type, organ and modality.

Closed and open questions are never pooled without saying so: `overall` stands beside them. Every question counts,
an unanswered or broken-off one as wrong. With several samples a question's accuracy is their mean.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, median
from typing import Any

import numpy as np

from medeyes_verl.evaluation.episode_log import LoggedEpisode
from medeyes_verl.evaluation.grounding import Grounding, grounding
from medeyes_verl.evaluation.statistics import clustered_share_interval
from medeyes_verl.reward.answer import chosen_option, normalise, polarity

Figures = dict[str, Any]
"""Figures of one group by name; None where a figure has no meaning for it."""

QUESTION_TYPES = ("closed", "open", "multiple_choice")
PART = "part:"
"""Before the name of a reward part of the user's own, among the metrics of a group."""
BREAKDOWNS: dict[str, Callable[[LoggedEpisode], str | None]] = {
    "question_type": lambda episode: episode.question_type,
    "organ": lambda episode: episode.organ,
    "modality": lambda episode: episode.modality,
}


def summarise(episodes: Sequence[LoggedEpisode]) -> dict[str, dict[str, Any]]:
    """For each benchmark and split, "vqa_rad/test": `overall`, and a table for each of BREAKDOWNS."""
    benchmarks: dict[str, list[LoggedEpisode]] = defaultdict(list)
    for episode in episodes:
        benchmarks[f"{episode.data_source}/{episode.split}"].append(episode)
    return {name: _benchmark(found) for name, found in sorted(benchmarks.items())}


def _benchmark(episodes: list[LoggedEpisode]) -> dict[str, Any]:
    summary: dict[str, Any] = {"overall": figures(episodes)}
    for name, group_of in BREAKDOWNS.items():
        groups: dict[str, list[LoggedEpisode]] = defaultdict(list)
        for episode in episodes:
            if (group := group_of(episode)) is not None:
                groups[group].append(episode)
        summary[name] = {group: figures(found) for group, found in sorted(groups.items())}
    return summary


def by_question(episodes: Iterable[LoggedEpisode]) -> dict[tuple[str, str], list[LoggedEpisode]]:
    """The samples of each question, in their order."""
    questions: dict[tuple[str, str], list[LoggedEpisode]] = defaultdict(list)
    for episode in episodes:
        questions[episode.data_source, episode.id].append(episode)
    for samples in questions.values():
        samples.sort(key=lambda episode: episode.sample)
    return dict(questions)


def figures(episodes: Sequence[LoggedEpisode]) -> Figures:
    """The figures of one group, at least one episode."""
    questions = list(by_question(episodes).values())
    accuracy_Q = [fmean(sample.scores.acc for sample in samples) for samples in questions]
    pictures_Q = [samples[0].images[0] for samples in questions]
    interval = clustered_share_interval(accuracy_Q, pictures_Q, trials=len(episodes))
    samples_each = max(len(samples) for samples in questions)
    sampled = samples_each > 1
    return {
        "questions": len(questions),
        "pictures": len(set(pictures_Q)),
        "samples": samples_each,
        "accuracy": fmean(accuracy_Q),
        "accuracy_low": interval and interval.low,
        "accuracy_high": interval and interval.high,
        "pass": fmean(max(sample.scores.acc for sample in samples) for samples in questions) if sampled else None,
        "majority": fmean(majority(samples).scores.acc for samples in questions) if sampled else None,
        **_secondary(episodes),
        **_looking(episodes),
        **_grounding(episodes),
        **_cost(episodes),
    }


def majority(samples: Sequence[LoggedEpisode]) -> LoggedEpisode:
    """The sample that speaks for the question: the first with the most frequent answer (ties: the earliest answer).

    Answers are the same when the scorer takes them for the same: the same polarity, option or normalised text. No
    answer is a vote too.
    """
    votes = [_vote(sample) for sample in samples]
    winner = Counter(votes).most_common(1)[0][0]  # equal counts: the first met
    return samples[votes.index(winner)]


def _vote(episode: LoggedEpisode) -> str | int | None:
    answer = episode.trace.answer
    if answer is None:
        return None
    if episode.question_type == "multiple_choice":
        return chosen_option(answer, episode.options)
    yes_no = episode.question_type == "closed" and polarity(episode.ground_truth) is not None
    return polarity(answer) if yes_no else normalise(answer)


def _secondary(episodes: Sequence[LoggedEpisode]) -> Figures:
    """Other scores; token F1 of open questions only, published rules where they have a meaning."""
    return {
        "token_f1": _mean(episode.scores.token_f1 for episode in episodes if episode.question_type == "open"),
        "medevalkit": _mean(episode.scores.medevalkit for episode in episodes),
        "llava_med_recall": _mean(episode.scores.llava_med_recall for episode in episodes),
        "format_valid": fmean(episode.scores.r_grammar for episode in episodes),
        "answered": fmean(episode.trace.finish == "answered" for episode in episodes),
        "broken_off": sum(episode.error is not None for episode in episodes),
        "not_scored": sum(episode.scores.error is not None for episode in episodes),
        **_own_parts(episodes),
    }


def _own_parts(episodes: Sequence[LoggedEpisode]) -> Figures:
    """The mean of each reward part of the user's own, over the episodes that it scored."""
    names = dict.fromkeys(name for episode in episodes for name in episode.scores.parts)
    return {
        f"{PART}{name}": _mean(episode.scores.parts[name] for episode in episodes if name in episode.scores.parts)
        for name in names
    }


def _looking(episodes: Sequence[LoggedEpisode]) -> Figures:
    modes = Counter(mode for episode in episodes for mode in episode.trace.modes)
    gazes = modes.total()
    return {
        "gazes": gazes / len(episodes),
        "no_gaze": fmean(not episode.trace.boxes for episode in episodes),
        "scan_share": modes["scan"] / gazes if gazes else None,
        "drill_share": modes["drill"] / gazes if gazes else None,
        "diversity": fmean(episode.scores.r_div for episode in episodes),
    }


def _grounding(episodes: Sequence[LoggedEpisode]) -> Figures:
    known = [found for episode in episodes if (found := grounding(episode.trace, episode.regions)) is not None]
    means = {f"best_{name}": _mean(getattr(found, name) for found in known) for name in Grounding.__slots__}
    return {"grounded": len(known), **means}


def _cost(episodes: Sequence[LoggedEpisode]) -> Figures:
    told = [episode.prompts_differing for episode in episodes if episode.prompts_differing is not None]
    seconds = [episode.seconds for episode in episodes]
    return {
        "tokens": fmean(episode.trace.num_tokens for episode in episodes),
        "seconds_median": median(seconds),
        "seconds_p95": float(np.quantile(seconds, 0.95)),
        "prompts_differing": sum(told) if told else None,
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
