"""Scores as other projects compute them, for comparison with their published tables. Never a reward.

Each function is named for whose rule it is and keeps that rule's known weaknesses, which are said beside it.
"""

from __future__ import annotations

from collections import Counter

from medeyes_verl.reward.answer import normalise


def medevalkit_closed(answer: str | None, ground_truth: str) -> bool:
    """MedEvalKit's rule for yes/no: exactly one of the SUBSTRINGS "yes" and "no" occurs, and the truth occurs too.

    Its weakness: "Yes, this is normal" is wrong, since "normal" contains "no".
    """
    said = _medevalkit_form(answer)
    return (("yes" in said) != ("no" in said)) and ground_truth.lower() in said


def medevalkit_open(answer: str | None, ground_truth: str) -> bool:
    """MedEvalKit's exact match: equal but for case. (Its published tables may add a judging model instead.)"""
    return (answer or "").lower() == ground_truth.lower()


def llava_med_closed(answer: str | None, ground_truth: str) -> bool:
    """LLaVA-Med's rule for yes/no: the truth occurs in an answer that contains "yes" or "no", as substrings.

    Its weaknesses: "no" is found in "normal"; "yes or no" is always right. Its script also leaves a wrong answer that
    contains either word out of the mean; here it counts as wrong.
    """
    said = normalise(answer or "")
    return ("yes" in said or "no" in said) and normalise(ground_truth) in said


def llava_med_recall(answer: str | None, ground_truth: str) -> float:
    """LLaVA-Med's score of open questions: the share of the truth's words that the answer contains, in [0, 1].

    As in its script a hit counts as often as the ANSWER says it, so that repeating a right word raises the score, and
    a long answer costs nothing. Words are normalised by this project's rule, which is close to its own.
    """
    said, expected = Counter(normalise(answer or "").split()), Counter(normalise(ground_truth).split())
    hits = sum(count for word, count in said.items() if word in expected)
    misses = sum(count for word, count in expected.items() if word not in said)
    return hits / (hits + misses) if hits else 0.0


def _medevalkit_form(answer: str | None) -> str:
    return (answer or "").lower().replace("\n", "").replace(".", "")
