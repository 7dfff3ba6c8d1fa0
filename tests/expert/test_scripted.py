"""Scripted experts: valid, varied, reproducible, resumable, and never claiming what nobody saw."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medeyes_verl.data.image_store import StoredPicture
from medeyes_verl.data.row import Region, Row, write_rows
from medeyes_verl.expert.framing import GRID_FRAMING
from medeyes_verl.expert.question import Question, read_questions
from medeyes_verl.expert.script_words import QUESTION_CHARACTERS, readable
from medeyes_verl.expert.scripted import (
    ScriptSettings,
    script_preset,
    scripted_trajectories,
    scripted_trajectory,
    write_scripted_experts,
)
from medeyes_verl.expert.store import StoreWriter, TrajectoryStore
from medeyes_verl.expert.trajectory import Trajectory, turn_texts
from medeyes_verl.gaze.episode import Episode
from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.gaze.grammar import parse_turn
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.prompts.templates import phrases
from medeyes_verl.reward.diversity import r_div

LESION = Region(Box(200, 100, 264, 164), "ring", target=True)
SQUARE = Size(448, 448)
DECOYS = (Region(Box(20, 20, 80, 80), "decoy"), Region(Box(350, 380, 420, 440), "decoy"))
SETTINGS = script_preset("tiny")
PAPER = script_preset("paper")
RIGID = replace(GRID_FRAMING, jitter=0)
MISSED = [wording.render() for wording in phrases(None, "script.yaml")["missed"]]


def question(regions: tuple[Region, ...] = (LESION, *DECOYS), size: Size = SQUARE, name: str = "q") -> Question:
    return Question(name, "What is the lesion?", "open", "ring", (), ("/p.png",), (size,), regions)


def draws(asked: Question, settings: ScriptSettings = SETTINGS, count: int = 300):  # type: ignore[no-untyped-def]
    rng = random.Random(0)
    return [scripted_trajectory(asked, settings, rng) for _ in range(count)]


def test_boxes_are_learnable_and_cover_their_candidate() -> None:
    for made in draws(question(), replace(SETTINGS, whole_picture_share=0, framing=RIGID)):
        for step in made.steps:
            assert (step.box.width, step.box.height) == (112, 112)
            assert all(edge % 56 == 0 and 0 <= edge <= 448 for edge in step.box.as_list())
        assert made.steps[-1].box.iou(LESION.box) > 0.25
        assert (made.answer, made.correct, made.conclusion) == ("ring", True, "ring seen")


def test_words_follow_what_was_found() -> None:
    for made in draws(question(), replace(SETTINGS, whole_picture_share=0)):
        assert [step.reasoning for step in made.steps] == ["scan", "empty", "empty"][: len(made.steps)]
    begun = draws(question(), replace(SETTINGS, whole_picture_share=1))
    assert all(made.steps[0].box == Box(0, 0, 448, 448) for made in begun)
    assert {tuple(step.reasoning for step in made.steps)[:2] for made in begun} == {("scan", "scan")}


def test_the_target_is_found_at_each_place_of_the_order_equally_often() -> None:
    lengths = [len(made.steps) for made in draws(question(), replace(SETTINGS, whole_picture_share=0), 3000)]
    for length in (1, 2, 3):
        assert lengths.count(length) / 3000 == pytest.approx(1 / 3, abs=0.04)


def test_whole_picture_share_is_kept() -> None:
    share = sum(made.steps[0].box.width == 448 for made in draws(question(), count=4000)) / 4000
    assert share == pytest.approx(SETTINGS.whole_picture_share, abs=0.02)


def test_gazes_stay_within_the_limit_and_inside_the_picture() -> None:
    crowd = (LESION, *(Region(Box(x, y, x + 60, y + 60), "decoy") for x in range(0, 400, 90) for y in (0, 390)))
    for made in draws(
        question(crowd), replace(SETTINGS, whole_picture_share=0.5, framing=replace(GRID_FRAMING, jitter=60))
    ):
        assert 1 <= len(made.steps) <= SETTINGS.max_gazes
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
    rigid = replace(SETTINGS, whole_picture_share=0, framing=RIGID)
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
    whole = write_scripted_experts(
        data, tmp_path / "whole", n=3, seed=1, settings=SETTINGS, progress=lambda: calls.append(1)
    )
    assert (whole.questions, whole.trajectories, whole.known, len(calls)) == (4, 12, 0, 4)

    with StoreWriter(tmp_path / "parts") as writer:
        first = next(iter(read_questions(data)))
        writer.add(first.expert_id, scripted_trajectories(first, 3, SETTINGS, 1))
    rest = write_scripted_experts(data, tmp_path / "parts", n=3, seed=1, settings=SETTINGS)
    assert (rest.questions, rest.known) == (3, 1)
    parts, at_once = TrajectoryStore(tmp_path / "parts"), TrajectoryStore(tmp_path / "whole")
    assert all(parts.get(expert_id) == at_once.get(expert_id) != [] for expert_id in at_once.ids())


def words_of(made: Trajectory) -> list[str]:
    return [*(step.reasoning for step in made.steps), made.conclusion]


def test_sentences_say_what_is_asked_and_where_the_gaze_goes() -> None:
    asked = replace(question(regions=()), organ="HEAD", modality="CT")
    made = scripted_trajectories(asked, 6, PAPER, seed=0)
    assert len(made) == 6
    for each in made:
        assert "What is the lesion?" in each.steps[0].reasoning
        assert all("of the image" in step.reasoning for step in each.steps[1:]), "a closer look names its place"
        assert not any(word in text for text in words_of(each) for word in ("ring", "scan", "done")), words_of(each)
    assert len({text for each in made for text in words_of(each)}) > 12, "experts differ in their words"
    assert {len(each.steps) for each in made} == {3, 4}, "and in their number of gazes"
    assert any("labelled CT, HEAD" in each.steps[0].reasoning for each in made)


def test_sentences_name_what_is_marked_and_nothing_else() -> None:
    for made in draws(question(), PAPER, 100):
        assert "ring" in made.conclusion
        assert not any("ring" in step.reasoning or "decoy" in step.reasoning for step in made.steps)
        missed = [any(words in step.reasoning for words in MISSED) for step in made.steps]
        passed = sum(step.box.width < 448 for step in made.steps) - 1
        assert sum(missed) == passed, "each candidate but the target was passed by, in words"


def test_sweeps_of_a_question_have_one_reward_so_that_none_is_ranked_above_another() -> None:
    for size in (SQUARE, Size(2000, 300), Size(300, 2000)):
        made = draws(question(regions=(), size=size), PAPER, 200)
        assert {r_div([step.box for step in each.steps]) for each in made} == {1.0}


@pytest.mark.parametrize("size", [(448, 448), (60, 40), (20, 20), (5, 5), (3000, 200), (150, 4500), (9000, 100)])
@pytest.mark.parametrize("max_gazes", [1, 2, 4])
def test_a_sweep_of_any_image_is_an_episode_without_a_fault(size: tuple[int, int], max_gazes: int) -> None:
    image, rules = Image.new("RGB", size), EpisodeSettings(max_gazes=max_gazes)
    asked = question(regions=(), size=Size(*size))
    for made in draws(asked, replace(PAPER, max_gazes=max_gazes), 20):
        episode = Episode([image], rules)
        for text in turn_texts(made, rules, asked.image_sizes):
            episode.reply(text)
        assert episode.trace.well_formed, (episode.trace.faults, made.steps)
        assert episode.trace.answer == "ring"


def test_with_several_images_the_words_say_which() -> None:
    asked = replace(question(regions=()), image_paths=("/a.png", "/b.png"), image_sizes=(SQUARE, Size(300, 200)))
    for made in draws(asked, PAPER, 50):
        assert all(f"image {step.image}" in step.reasoning for step in made.steps)


@given(st.text(max_size=300), st.text(max_size=80), st.text(min_size=1, max_size=40))
def test_any_question_label_and_answer_can_stand_in_a_turn(text: str, label: str, answer: str) -> None:
    lesion = Region(Box(200, 100, 264, 164), label, target=True)
    for regions in ((), (lesion,)):
        asked = replace(question(regions), text=text, ground_truth=answer, organ=label)
        made = scripted_trajectory(asked, PAPER, random.Random(0))
        for turn in turn_texts(made, EpisodeSettings(), asked.image_sizes):
            assert not parse_turn(turn).faults


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("\u56fe\u4e2d\u6709 <answer>\u4ec0\u4e48</answer>?", "\u56fe\u4e2d\u6709 [answer]\u4ec0\u4e48[/answer]?"),
        ("<<answer>>\n<|im_end|> <image>", "<[answer]> [|im_end|] [image]"),
        ("Is it < 3 cm or > 5 cm?", "Is it < 3 cm or > 5 cm?"),
    ],
)
def test_a_question_keeps_its_words_and_loses_its_tags(written: str, said: str) -> None:
    assert readable(written, QUESTION_CHARACTERS) == said
    assert len(readable(written * 100, QUESTION_CHARACTERS)) <= QUESTION_CHARACTERS


def test_questions_made_with_other_settings_are_counted(tmp_path: Path) -> None:
    data = parquet(tmp_path / "train.parquet")
    write_scripted_experts(data, tmp_path / "experts", n=2, settings=SETTINGS)
    assert write_scripted_experts(data, tmp_path / "experts", n=2, settings=SETTINGS).different == 0
    again = write_scripted_experts(data, tmp_path / "experts", n=2)
    assert (again.questions, again.known, again.different) == (0, 4, 4)
