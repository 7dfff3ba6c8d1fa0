"""Scripted experts: valid, varied, reproducible, resumable, and never claiming what nobody saw."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from medeyes_verl.data.image_store import StoredPicture
from medeyes_verl.data.row import Region, Row, write_rows
from medeyes_verl.expert.framing import GRID_FRAMING
from medeyes_verl.expert.question import Question, read_questions
from medeyes_verl.expert.scripted import (
    ScriptSettings,
    scripted_trajectories,
    scripted_trajectory,
    write_scripted_experts,
)
from medeyes_verl.expert.store import StoreWriter, TrajectoryStore
from medeyes_verl.gaze.geometry import Box, Size

LESION = Region(Box(200, 100, 264, 164), "ring", target=True)
SQUARE = Size(448, 448)
DECOYS = (Region(Box(20, 20, 80, 80), "decoy"), Region(Box(350, 380, 420, 440), "decoy"))
SETTINGS = ScriptSettings()
RIGID = replace(GRID_FRAMING, jitter=0)


def question(regions: tuple[Region, ...] = (LESION, *DECOYS), size: Size = SQUARE, name: str = "q") -> Question:
    return Question(name, "What is the lesion?", "open", "ring", (), ("/p.png",), (size,), regions)


def draws(asked: Question, settings: ScriptSettings = SETTINGS, count: int = 300):  # type: ignore[no-untyped-def]
    rng = random.Random(0)
    return [scripted_trajectory(asked, settings, rng) for _ in range(count)]


def test_boxes_are_learnable_and_cover_their_candidate() -> None:
    for made in draws(question(), ScriptSettings(whole_picture_share=0, framing=RIGID)):
        for step in made.steps:
            assert (step.box.width, step.box.height) == (112, 112)
            assert all(edge % 56 == 0 and 0 <= edge <= 448 for edge in step.box.as_list())
        assert made.steps[-1].box.iou(LESION.box) > 0.25
        assert (made.answer, made.correct, made.conclusion) == ("ring", True, "ring seen")


def test_words_follow_what_was_found() -> None:
    for made in draws(question(), ScriptSettings(whole_picture_share=0)):
        assert [step.reasoning for step in made.steps] == ["scan", "empty", "empty"][: len(made.steps)]
    begun = draws(question(), ScriptSettings(whole_picture_share=1))
    assert all(made.steps[0].box == Box(0, 0, 448, 448) for made in begun)
    assert {tuple(step.reasoning for step in made.steps)[:2] for made in begun} == {("scan", "scan")}


def test_the_target_is_found_at_each_place_of_the_order_equally_often() -> None:
    lengths = [len(made.steps) for made in draws(question(), ScriptSettings(whole_picture_share=0), 3000)]
    for length in (1, 2, 3):
        assert lengths.count(length) / 3000 == pytest.approx(1 / 3, abs=0.04)


def test_whole_picture_share_is_kept() -> None:
    share = sum(made.steps[0].box.width == 448 for made in draws(question(), count=4000)) / 4000
    assert share == pytest.approx(SETTINGS.whole_picture_share, abs=0.02)


def test_gazes_stay_within_the_limit_and_inside_the_picture() -> None:
    crowd = (LESION, *(Region(Box(x, y, x + 60, y + 60), "decoy") for x in range(0, 400, 90) for y in (0, 390)))
    for made in draws(
        question(crowd), ScriptSettings(whole_picture_share=0.5, framing=replace(GRID_FRAMING, jitter=60))
    ):
        assert 1 <= len(made.steps) <= 4
        assert all(step.box == step.box.clipped(Size(448, 448)) for step in made.steps)
    for made in draws(question(size=Size(100, 300))):
        assert all(step.box == step.box.clipped(Size(100, 300)) for step in made.steps)


def test_a_sweep_looks_and_claims_nothing() -> None:
    made = draws(question(regions=()), count=200)
    assert {len(each.steps) for each in made} == {2}
    assert all(each.steps[0].box == Box(0, 0, 448, 448) and each.source == "sweep" for each in made)
    assert len({each.steps[1].box for each in made}) == 9
    assert {text for each in made for text in (*(s.reasoning for s in each.steps), each.conclusion)} == {
        "scan",
        "look closer",
        "done",
    }
    assert draws(question(regions=DECOYS), count=1)[0].source == "sweep"


def test_six_are_different_reproducible_and_of_their_question() -> None:
    made = scripted_trajectories(question(), 6, SETTINGS, seed=3)
    assert len(set(made)) == 6
    assert made == scripted_trajectories(question(), 6, SETTINGS, seed=3)
    assert made != scripted_trajectories(question(), 6, SETTINGS, seed=4)
    other = scripted_trajectories(question(name="other"), 6, SETTINGS, seed=3)
    assert [each.steps for each in made] != [each.steps for each in other]


def test_where_variety_ends_fewer_are_made() -> None:
    rigid = ScriptSettings(whole_picture_share=0, framing=RIGID)
    assert len(scripted_trajectories(question((LESION,)), 6, rigid, seed=0)) == 1


def parquet(path: Path, count: int = 4, expert: bool = True) -> Path:
    rows = [
        Row(
            data_source="phantom",
            split="train" if expert else "val",
            id=f"q{number}",
            question="What is the lesion?",
            answer="ring",
            question_type="open",
            pictures=(StoredPicture(path="/p.png", size=Size(448, 448)),),
            expert_id=f"phantom/q{number}" if expert else None,
            regions=(LESION,) if number % 2 else (),
        )
        for number in range(count)
    ]
    write_rows(path, rows)
    return path


def test_questions_are_read_as_they_were_written(tmp_path: Path) -> None:
    first, second, *_ = read_questions(parquet(tmp_path / "train.parquet"))
    assert second == Question(
        "phantom/q1", "What is the lesion?", "open", "ring", (), ("/p.png",), (Size(448, 448),), (LESION,)
    )
    assert first.regions == ()
    with pytest.raises(ValueError, match=r"val\.parquet.*expert_id"):
        list(read_questions(parquet(tmp_path / "val.parquet", expert=False)))


def test_writing_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    data, calls = parquet(tmp_path / "train.parquet"), []
    whole = write_scripted_experts(data, tmp_path / "whole", n=3, seed=1, progress=lambda: calls.append(1))
    assert (whole.questions, whole.trajectories, whole.known, len(calls)) == (4, 12, 0, 4)

    with StoreWriter(tmp_path / "parts") as writer:
        first = next(iter(read_questions(data)))
        writer.add(first.expert_id, scripted_trajectories(first, 3, SETTINGS, 1))
    rest = write_scripted_experts(data, tmp_path / "parts", n=3, seed=1)
    assert (rest.questions, rest.known) == (3, 1)
    parts, at_once = TrajectoryStore(tmp_path / "parts"), TrajectoryStore(tmp_path / "whole")
    assert all(parts.get(expert_id) == at_once.get(expert_id) != [] for expert_id in at_once.ids())
