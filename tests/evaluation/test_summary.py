"""Figures of groups, votes, tables and comparisons, on a handful of episodes whose figures are known."""

import csv
import io
from dataclasses import replace

import pytest

from medeyes_verl.evaluation.compare import compare, comparison_table
from medeyes_verl.evaluation.episode_log import LoggedEpisode, Scores
from medeyes_verl.evaluation.summary import by_question, figures, majority, summarise
from medeyes_verl.evaluation.tables import csv_text, markdown
from medeyes_verl.gaze.geometry import Box
from tests.traces import trace_of


def episode(
    number: int,
    right: bool,
    answer: str | None = "ring",
    *,
    kind: str = "open",
    truth: str = "ring",
    source: str = "vqa_rad",
    sample: int = 0,
    picture: str | None = None,
    organ: str | None = None,
    options: tuple[str, ...] = (),
) -> LoggedEpisode:
    acc = float(right)
    mc = kind == "multiple_choice"
    return LoggedEpisode(
        id=f"q{number}",
        sample=sample,
        data_source=source,
        split="test",
        question=f"Question {number}?",
        question_type=kind,
        options=options,
        ground_truth=truth,
        images=(picture or f"{number}.png",),
        organ=organ,
        modality="CT",
        location=None,
        regions=(),
        trace=trace_of(Box(0, 0, 100, 100), Box(0, 0, 20, 20), answer=answer, modes=("scan", "drill"), num_tokens=50),
        scores=Scores(acc, acc, 1.0, 0.5, 0.25, None if mc else acc, None if mc else 0.75),
        seconds=2.0,
        model="m",
        prompts_differing=0,
    )


EPISODES = [
    episode(0, True, "yes", kind="closed", truth="yes", organ="lung"),
    episode(1, False, "no", kind="closed", truth="yes", organ="lung"),
    episode(2, True, organ="brain"),
    episode(3, False, None, organ=None),
    episode(4, True, "B", kind="multiple_choice", truth="B", options=("bar", "ring"), source="pmc_vqa"),
]


def test_closed_and_open_are_kept_apart() -> None:
    summary = summarise(EPISODES)
    assert list(summary) == ["pmc_vqa/test", "vqa_rad/test"]
    rad = summary["vqa_rad/test"]
    assert rad["overall"]["accuracy"] == 0.5
    assert {kind: group["accuracy"] for kind, group in rad["question_type"].items()} == {"closed": 0.5, "open": 0.5}
    assert {organ: group["questions"] for organ, group in rad["organ"].items()} == {"lung": 2, "brain": 1}
    assert set(rad["modality"]) == {"CT"}
    assert summary["pmc_vqa/test"]["question_type"]["multiple_choice"]["accuracy"] == 1.0


def test_an_unanswered_question_stays_in_the_denominator() -> None:
    open_ones = summarise(EPISODES)["vqa_rad/test"]["question_type"]["open"]
    assert (open_ones["questions"], open_ones["accuracy"], open_ones["answered"]) == (2, 0.5, 0.5)


def test_all_figures_of_a_group() -> None:
    found = figures(EPISODES[:4])
    assert (found["questions"], found["pictures"], found["samples"]) == (4, 4, 1)
    assert found["accuracy_low"] < 0.5 < found["accuracy_high"]
    assert found["pass"] is None
    assert found["token_f1"] == 0.25, "of the two open questions"
    assert found["medevalkit"] == 0.5
    assert found["llava_med_recall"] == 0.75
    assert (found["gazes"], found["scan_share"], found["drill_share"], found["no_gaze"]) == (2.0, 0.5, 0.5, 0.0)
    assert (found["tokens"], found["seconds_median"], found["seconds_p95"]) == (50, 2.0, 2.0)
    assert (found["grounded"], found["best_iou"]) == (0, None)
    assert (found["format_valid"], found["broken_off"], found["prompts_differing"]) == (1.0, 0, 0)
    assert figures(EPISODES[4:])["medevalkit"] is None, "the rule has no meaning for multiple choice"


def test_questions_of_one_picture_are_one_cluster() -> None:
    shared = [replace(each, images=("same.png",)) for each in EPISODES[:4]]
    found = figures(shared)
    assert found["pictures"] == 1
    assert found["accuracy_low"] is None


def test_samples_of_a_question() -> None:
    answers = [("ring", True), ("bar", False), ("bar", False)]
    first = [episode(0, right, answer, sample=place) for place, (answer, right) in enumerate(answers)]
    second = [episode(1, right, "ring" if right else None, sample=place) for place, right in enumerate((1, 1, 0))]
    found = figures(first + second)
    assert (found["questions"], found["samples"]) == (2, 3)
    assert found["accuracy"] == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert found["pass"] == 1.0
    assert found["majority"] == 0.5, "bar wins the first, ring the second"


@pytest.mark.parametrize(
    ("kind", "truth", "options", "answers", "winner"),
    [
        ("closed", "yes", (), ["No, it is clear.", "Yes.", "no"], 0),
        ("open", "ring", (), ["a ring", "The ring.", "bar"], 0),
        ("multiple_choice", "B", ("bar", "ring"), ["A", "ring", "(B)"], 1),
        ("open", "ring", (), ["bar", "ring"], 0),  # a tie: the earliest
        ("open", "ring", (), [None, "ring", None], 0),  # no answer is a vote
        ("closed", "left", (), ["The left side", "left", "right"], 0),
    ],
)
def test_a_vote_counts_answers_that_the_scorer_takes_for_the_same(
    kind: str, truth: str, options: tuple[str, ...], answers: list[str | None], winner: int
) -> None:
    samples = [
        episode(0, False, answer, kind=kind, truth=truth, options=options, sample=place)
        for place, answer in enumerate(answers)
    ]
    assert majority(samples).sample == winner


def test_samples_are_put_in_their_order() -> None:
    shuffled = [episode(0, True, sample=2), episode(0, True, sample=0), episode(0, True, sample=1)]
    assert [each.sample for each in by_question(shuffled)["vqa_rad", "q0"]] == [0, 1, 2]


def test_the_tables_say_what_was_measured() -> None:
    text = markdown(summarise(EPISODES), "A run")
    assert "| vqa_rad/test | 4 | 4 | 50.0 [9.5, 90.5] (n=2) | 50.0 [9.5, 90.5] (n=2) | – |" in text
    assert "| pmc_vqa/test | 1 | 1 | – | – | 100.0 (n=1) | 100.0 |" in text
    assert "70.7" in text, "the paper's VQA-RAD"
    assert "not comparable" in text
    lines = text.splitlines()
    tables = [lines[place : place + 2] for place, line in enumerate(lines) if line.startswith("| ---")]
    assert all(row.count(" |") == rule.count(" |") for rule, row in tables)
    rows = list(csv.DictReader(io.StringIO(csv_text(summarise(EPISODES)))))
    rad = next(row for row in rows if row["benchmark"] == "vqa_rad/test" and row["breakdown"] == "overall")
    assert (rad["questions"], rad["accuracy"]) == ("4", "0.5")
    assert {row["group"] for row in rows if row["breakdown"] == "organ"} == {"lung", "brain"}


def test_names_from_data_cannot_break_a_table_or_run_in_a_spreadsheet() -> None:
    summary = summarise([replace(EPISODES[0], organ="=HYPERLINK(|)\nx")])
    assert "=HYPERLINK(\\|) x" in markdown(summary, "A run")
    assert "'=HYPERLINK" in csv_text(summary)


def runs(first: list[int], second: list[int]) -> tuple[list[LoggedEpisode], list[LoggedEpisode]]:
    made = [[episode(place, bool(right)) for place, right in enumerate(run)] for run in (first, second)]
    return made[0], made[1]


def test_two_runs_by_hand() -> None:
    found = compare(*runs([1, 1, 0, 0, 0, 0], [1, 0, 1, 1, 1, 0]))
    assert len(found) == 1
    only = found[0]
    assert (only.benchmark, only.questions, only.left_out) == ("vqa_rad/test", 6, 0)
    assert (only.first, only.second) == pytest.approx((2 / 6, 4 / 6))
    assert (only.only_first, only.only_second) == (1, 3)
    assert only.p == pytest.approx(2 * (1 + 4) / 16)
    assert only.interval is not None
    assert only.interval.low < only.difference < only.interval.high
    assert "+33.3" in comparison_table(found, "a", "b")


def test_a_run_equals_itself() -> None:
    first, _ = runs([1, 0] * 100, [])
    only = compare(first, first)[0]
    assert (only.difference, only.p) == (0, 1)
    assert only.interval is not None
    assert only.interval.low == -only.interval.high
    assert 0.01 < only.interval.high < 0.02, "paired: hard questions cancel out; what 200 questions cannot tell stays"


def test_questions_of_one_run_only_are_said() -> None:
    only = compare(*runs([1, 0, 1], [1, 0, 1, 1, 1]))[0]
    assert (only.questions, only.left_out) == (3, 2)
    assert "3 (2 in one run only)" in comparison_table([only], "a", "b")


def test_runs_that_cannot_be_compared() -> None:
    first, second = runs([1, 0], [1, 0])
    with pytest.raises(ValueError, match="no question in common"):
        compare(first, [replace(each, id="other" + each.id) for each in second])
    with pytest.raises(ValueError, match="not the same in both runs"):
        compare(first, [replace(each, ground_truth="bar") for each in second])
