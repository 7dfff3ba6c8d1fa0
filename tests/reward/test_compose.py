"""The sum and its parts."""

import pytest

from medeyes_verl.gaze.geometry import Box
from medeyes_verl.gaze.grammar import Fault
from medeyes_verl.gaze.trace import EpisodeTrace, Finish
from medeyes_verl.reward.compose import RewardParts, RewardSettings, reward
from medeyes_verl.reward.structure import r_grammar
from medeyes_verl.settings.reader import read
from tests.traces import trace_of


def record(
    answer: str | None = "left lung", boxes: int = 1, faults: tuple[Fault, ...] = (), finish: Finish = "answered"
) -> EpisodeTrace:
    return trace_of(
        *(Box(20 * x, 0, 20 * x + 10, 10) for x in range(boxes)), answer=answer, faults=faults, finish=finish
    )


@pytest.mark.parametrize(
    ("episode", "structure"),
    [
        (record(), 1.0),
        (record(boxes=0), 1.0),
        (record(faults=(Fault.missing_reasoning,)), 0.0),
        (record(faults=(Fault.tiny_box,)), 0.0),
        (record(answer=None, finish="gaze_limit"), 0.0),
        (record(answer=None, finish="truncated"), 0.0),
    ],
)
def test_structure(episode: EpisodeTrace, structure: float) -> None:
    assert r_grammar(episode) == structure


@pytest.mark.parametrize(
    ("episode", "total"),
    [
        (record(boxes=3), 0.7 + 0.2 + 0.1),
        (record(boxes=1), 0.7 + 0.2 + 0.1 / 6),
        (record(boxes=0), 0.7 + 0.2),
        (record(boxes=0, faults=(Fault.two_actions,)), 0.7),
        (record("right lung", boxes=0), 0.2),
        (record("right lung", boxes=3, faults=(Fault.tiny_box,)), 0.1),
        (record(None, boxes=0, finish="truncated"), 0.0),
        (record(None, boxes=3, finish="gaze_limit"), 0.1),
    ],
)
def test_the_sum_by_hand(episode: EpisodeTrace, total: float) -> None:
    parts = reward(episode, "Left lung", "open")
    assert parts.total == pytest.approx(total)
    assert parts.total == pytest.approx(0.7 * parts.r_acc + 0.2 * parts.r_grammar + 0.1 * parts.r_div)


def test_token_f1_is_logged_and_used_only_when_asked_for() -> None:
    episode = record("lung", boxes=0)
    parts = reward(episode, "left lung", "open")
    assert (parts.r_acc, parts.exact_match) == (0.0, 0.0)
    assert parts.token_f1 == pytest.approx(2 / 3)
    parts = reward(episode, "left lung", "open", settings=RewardSettings(open_metric="token_f1"))
    assert (parts.r_acc, parts.exact_match) == (pytest.approx(2 / 3), 0.0)
    assert parts.total == pytest.approx(0.7 * 2 / 3 + 0.2)


def test_token_f1_pays_nothing_outside_open_questions() -> None:
    settings = RewardSettings(open_metric="token_f1")
    assert reward(record("yes or no"), "yes", "closed", settings=settings).r_acc == 0.0
    parts = reward(record("left lung or right lung"), "A", "multiple_choice", ["left lung", "right lung"], settings)
    assert (parts.r_acc, parts.token_f1) == (0.0, 0.0)


def test_every_type_of_question() -> None:
    assert reward(record("Yes, this is normal"), "yes", "closed").r_acc == 1.0
    assert reward(record("B."), "B", "multiple_choice", ["left", "right"]).r_acc == 1.0
    with pytest.raises(ValueError, match="unknown question type"):
        reward(record(), "yes", "yes/no")


def test_weights() -> None:
    settings = read(RewardSettings, {"accuracy_weight": 1, "grammar_weight": 0, "diversity_weight": 0.5})
    assert reward(record(boxes=3), "left lung", "open", settings=settings).total == pytest.approx(1.5)
    assert read(RewardSettings, {}) == RewardSettings()


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"accuracy": 1}, "accuracy=1: there is no such key; did you mean accuracy_weight"),
        ({"accuracy_weight": -1}, "accuracy_weight=-1: use a number from 0 upwards"),
        ({"grammar_weight": "0.2"}, "grammar_weight='0.2': use a number"),
        ({"diversity_weight": float("nan")}, "diversity_weight=nan: use a number"),
        ({"diversity_weight": True}, "diversity_weight=true: use a number"),
        ({"open_metric": "f1"}, "open_metric='f1': use one of exact, token_f1"),
    ],
)
def test_wrong_settings_are_named(mapping: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(RewardSettings, mapping)


def test_parts_by_name() -> None:
    parts = reward(record(boxes=3), "left lung", "open").as_dict()
    assert parts == {
        "total": pytest.approx(1.0),
        "r_acc": 1.0,
        "r_grammar": 1.0,
        "r_div": 1.0,
        "exact_match": 1.0,
        "token_f1": 1.0,
    }
    assert set(RewardParts.zero().as_dict().values()) == {0.0}


def test_diversity_may_count_with_a_correct_answer_only() -> None:
    """Among wrong answers it is the only part that varies, and a group's deviation makes it as large as a right one."""
    settings = RewardSettings(diversity_when="correct")
    assert reward(record(boxes=3), "Left lung", "open", settings=settings) == reward(
        record(boxes=3), "Left lung", "open"
    )
    wrong = [reward(record("right lung", boxes=n), "Left lung", "open", settings=settings) for n in (0, 3)]
    assert [each.total for each in wrong] == pytest.approx([0.2, 0.2])
    assert [each.r_div for each in wrong] == [0.0, 0.0]
    with pytest.raises(ValueError, match="diversity_when='never': use one of always, correct"):
        RewardSettings(diversity_when="never")  # type: ignore[arg-type]
