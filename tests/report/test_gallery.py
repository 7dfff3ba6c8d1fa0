"""The gallery: which questions are shown, what a card says, and that it stays bounded."""

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from medeyes_verl.evaluation.recipe import Recipe
from medeyes_verl.evaluation.run_logs import EpisodeSet, Run
from medeyes_verl.expert.store import StoreWriter, TrajectoryStore
from medeyes_verl.expert.trajectory import ExpertStep, Trajectory
from medeyes_verl.gaze.geometry import Box
from medeyes_verl.report import gallery as module
from medeyes_verl.report.gallery import MOST_TEXT, gallery

NO_GAZE = ["<reasoning>sure</reasoning>\n<answer>wrong</answer>"]
FAULT = ["<action>{}</action>", "<reasoning>seen</reasoning>\n<answer>wrong</answer>"]


def _run(played: list[Any], experts: TrajectoryStore | None = None, label: str = "validation-2") -> Run:
    return Run("run", {}, (EpisodeSet(label, tuple(played)),), experts)


def test_a_card_tells_question_truth_gazes_crops_words_and_verdict(episodes: Any, recipe: Recipe) -> None:
    shown = gallery([_run(episodes(3, {2: NO_GAZE}))], recipe.rules)
    card, wrong = shown.cards[0], shown.cards[2]
    assert (card.question, card.truth, card.source, card.kind) == ("Question 0?", "yes", "made_up", "closed")
    assert card.tags == ("right",)
    [play] = card.plays
    assert (play.right, play.answer, play.gazes) == (True, "yes", 1)
    look, answer = play.steps
    assert (look.number, look.reasoning, look.box) == (1, "look", Box(0, 0, 112, 112))
    assert look.crop is not None
    assert "x 0–112, y 0–112" in look.crop.alt
    assert (answer.number, answer.crop) == (None, None)
    assert wrong.truth == "B. ring"
    assert wrong.tags == ("wrong", "no-gaze")
    assert shown.unreadable == 0


def test_pictures_are_jpeg_of_bounded_size(episodes: Any, recipe: Recipe) -> None:
    [card] = gallery([_run(episodes(1))], recipe.rules).cards
    for shown, side in ((card.pictures[0], module.VIEW_SIDE), (card.plays[0].steps[0].crop, module.CROP_SIDE)):
        kind, _, data = shown.url.partition(",")
        assert kind == "data:image/jpeg;base64"
        assert max(Image.open(io.BytesIO(base64.b64decode(data))).size) <= side


def test_every_kind_is_represented_when_not_all_can_be_shown(episodes: Any, recipe: Recipe) -> None:
    shown = gallery([_run(episodes(20, {18: NO_GAZE, 19: FAULT}))], recipe.rules, most_cards=3)
    assert (len(shown.cards), shown.questions) == (3, 20)
    assert [card.tags for card in shown.cards] == [("right",), ("wrong", "no-gaze"), ("wrong", "no-gaze", "fault")]


def test_plays_of_one_question_stand_side_by_side_and_are_bounded(episodes: Any, recipe: Recipe) -> None:
    [right], [wrong] = episodes(1), episodes(1, {0: NO_GAZE})
    sets = tuple(EpisodeSet(f"validation-{step}", (wrong if step == 0 else right,)) for step in range(8))
    [card] = gallery([Run("run", {}, sets, None)], recipe.rules).cards
    assert [play.label for play in card.plays] == [f"validation-{step}" for step in range(module.MOST_PLAYS)]
    assert card.more_plays == 8 - module.MOST_PLAYS
    assert "differ" in card.tags


def test_the_expert_of_the_store_stands_beside_the_policy(episodes: Any, recipe: Recipe, tmp_path: Path) -> None:
    steps = (ExpertStep("there", Box(112, 112, 224, 224)),)
    expert = Trajectory("q0", steps, "a ring", "yes", correct=True, source="scripted")
    with StoreWriter(tmp_path / "experts") as writer:
        writer.add("q0", [expert])
    shown = gallery([_run(episodes(2), TrajectoryStore(tmp_path / "experts"))], recipe.rules)
    policy, beside = shown.cards[0].plays
    assert (policy.expert, beside.expert, beside.label) == (False, True, "expert (scripted)")
    assert beside.steps[0].box == Box(112, 112, 224, 224)
    assert (beside.answer, beside.right, beside.facts) == ("yes", True, "")
    assert len(shown.cards[1].plays) == 1


def test_a_picture_that_is_gone_is_said_and_counted(episodes: Any, recipe: Recipe) -> None:
    [episode] = episodes(1)
    shown = gallery([_run([replace(episode, images=("nowhere/a.png",))])], recipe.rules)
    [card] = shown.cards
    assert shown.unreadable == 1
    assert (card.pictures[0].url, card.pictures[0].alt) == (None, "image 1 could not be read")
    assert card.plays[0].steps[0].crop.url is None


def test_endless_words_are_cut(episodes: Any, recipe: Recipe) -> None:
    [card] = gallery([_run(episodes(1, {0: ["x" * 100_000]}))], recipe.rules).cards
    assert len(card.plays[0].steps[0].raw) == MOST_TEXT + 2
