"""What the doctor says of stored experts under a recipe: shares of groups that teach nothing, and why."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from medeyes_verl.doctor.check import Finding
from medeyes_verl.doctor.images import SizeOnlyImage
from medeyes_verl.doctor.inputs import recipe_alone, table_under_recipe
from medeyes_verl.expert.question import read_questions
from medeyes_verl.expert.scripted import script_preset, scripted_trajectories, write_scripted_experts
from medeyes_verl.expert.store import StoreWriter
from medeyes_verl.expert.trajectory import ExpertStep, Trajectory
from medeyes_verl.gaze.crop import PixelBounds, crop_of, view_of
from medeyes_verl.gaze.geometry import Box, Size

Rows = list[dict[str, Any]]
Damage = Callable[[Callable[[Rows], object]], Path]
Failed = Callable[[Iterable[Finding]], list[Finding]]


def without_regions(rows: Rows) -> None:
    for row in rows:
        row["extra_info"]["regions"] = [{**region, "target": False} for region in row["extra_info"]["regions"]]


def check(path: Path, recipe: str, *overrides: str, store: Path | None = None) -> list[Finding]:
    return list(table_under_recipe(path, recipe, None, store, overrides))


def of(findings: list[Finding], subject: str) -> Finding:
    (found,) = [each for each in findings if subject in each.subject]
    return found


@pytest.fixture
def swept(damage: Damage) -> Path:
    """A table without marked regions, as VQA-RAD's is, and six scripted experts of each question for a real model."""
    path = damage(without_regions)
    write_scripted_experts(path, path.parent / "swept", n=6)
    return path


def test_experts_that_score_alike_fail_under_the_papers_rule_and_the_remedy_passes(swept: Path, failed: Failed) -> None:
    store = swept.parent / "swept"
    (finding,) = failed(check(swept, "qwen2_5_vl_3b", store=store))
    assert finding.seen.startswith("100% of 4 groups have advantage 0 throughout")
    assert "'+medeyes=[qwen2_5_vl_3b,recommended]'" in finding.remedy

    findings = check(swept, "qwen2_5_vl_3b,recommended", store=store)
    assert failed(findings) == []
    seen = of(findings, "zero-advantage").seen
    assert seen.startswith("0% of 4 groups"), "while every rollout is wrong"
    assert "100% once every rollout earns as much as the best expert" in seen


def test_an_override_counts_as_it_does_for_main_ppo(swept: Path, failed: Failed) -> None:
    store = swept.parent / "swept"
    for rule in ("pooled", "none"):
        findings = check(swept, "qwen2_5_vl_3b", f"algorithm.medeyes.off_policy_baseline={rule}", store=store)
        assert failed(findings) == []
        assert rule in of(findings, "zero-advantage").subject


def test_experts_that_differ_in_reward_pass_under_the_papers_rule(prepared: Path, failed: Failed) -> None:
    steps = (ExpertStep("scan", Box(0, 0, 448, 448)), ExpertStep("scan", Box(0, 0, 112, 112)))
    with StoreWriter(prepared.parent / "differ") as writer:
        for question in read_questions(prepared):
            made = [
                Trajectory(question.expert_id, steps[:n], "done", question.ground_truth, True, "mine") for n in (1, 2)
            ]
            writer.add(question.expert_id, made)
    findings = check(prepared, "cpu_tiny", store=prepared.parent / "differ")
    assert failed(findings) == []
    assert of(findings, "zero-advantage").seen.startswith("0% of 4 groups")
    assert "from 0.917 to 0.983" in of(findings, ": reward").seen


def test_experts_without_a_correct_answer_do_not_pass_for_want_of_a_baseline(prepared: Path, failed: Failed) -> None:
    with StoreWriter(prepared.parent / "wrong") as writer:
        for question in read_questions(prepared):
            made = scripted_trajectories(question, 2, script_preset("tiny"), 0)
            writer.add(question.expert_id, [replace(each, answer="nothing", steps=()) for each in made])
    found = failed(check(prepared, "cpu_tiny,recommended", store=prepared.parent / "wrong"))
    assert [each.subject.split(": ")[1] for each in found] == [
        "answers score as labelled",
        "zero-advantage groups (off_policy_baseline=on_policy)",
    ]
    assert "0.0% are correct by the reward, 100.0% by their label" in found[0].seen
    assert "make experts whose answers are correct" in found[1].remedy


def test_experts_with_more_gazes_than_the_recipe_allows_are_found(swept: Path, failed: Failed) -> None:
    findings = check(swept, "cpu_tiny", store=swept.parent / "swept")
    finding = of(failed(findings), "end with an answer")
    assert "gaze_limit" in finding.seen
    assert "at most 3 gazes" in finding.remedy


def test_the_token_budget_counts_where_a_model_is_given(swept: Path, processor_folder: Path, failed: Failed) -> None:
    store, limit = swept.parent / "swept", "data.max_response_length=250"
    findings = list(table_under_recipe(swept, "qwen2_5_vl_3b,recommended", str(processor_folder), store, [limit]))
    assert "truncated" in of(failed(findings), "end with an answer").seen
    assert "response of 250 tokens counted" in of(findings, "played").seen
    short = ["data.max_prompt_length=20"]
    findings = list(table_under_recipe(swept, "qwen2_5_vl_3b,recommended", str(processor_folder), store, short))
    assert "data.max_prompt_length" in of(failed(findings), "prompts fit").remedy


def test_a_store_with_too_few_or_damaged_entries_is_found(prepared: Path, failed: Failed) -> None:
    store = prepared.parent / "few"
    with StoreWriter(store) as writer:
        for number, question in enumerate(read_questions(prepared)):
            made = scripted_trajectories(question, 1, script_preset("tiny"), 0)
            far = [replace(made[0], steps=(ExpertStep("scan", Box(0, 0, 112, 112), image=2),))]
            writer.add(question.expert_id, [] if number else far)
    found = failed(check(prepared, "cpu_tiny", store=store))
    assert "1 cannot be used" in of(found, "played").seen
    assert failed(check(prepared, "cpu_tiny", store=prepared.parent / "absent")), "no store at all"


def test_training_rows_without_experts_are_refused_where_the_recipe_wants_some(damage: Damage, failed: Failed) -> None:
    def none(rows: Rows) -> None:
        for row in rows:
            row["extra_info"]["expert_id"] = None

    (finding,) = failed(check(damage(none), "cpu_tiny"))
    assert "none of 4 training rows has an expert_id" in finding.seen
    assert failed(check(damage(none), "on_policy_only")) == []


@pytest.mark.parametrize(
    ("recipe", "overrides", "named"),
    [
        ("no_such_recipe", [], "no_such_recipe"),
        ("cpu_tiny", ["no.such.key=1"], "no.such.key"),
        ("cpu_tiny", ["algorithm.medeyes.off_policy_baseline=sideways"], "sideways"),
        ("cpu_tiny", ["actor_rollout_ref.rollout.n=2"], "n_expert=2"),
        ("cpu_tiny", ["="], ""),
    ],
)
def test_a_recipe_that_main_ppo_would_refuse_fails(
    failed: Failed, recipe: str, overrides: list[str], named: str
) -> None:
    (finding,) = failed(recipe_alone(recipe, None, None, overrides))
    assert named in finding.seen


def test_relative_images_need_the_recipes_root(damage: Damage, failed: Failed) -> None:
    path = damage(
        lambda rows: rows[0].update(
            images=[str(Path(rows[0]["images"][0]).relative_to(Path(rows[0]["images"][0]).parents[2]))]
        )
    )
    (finding,) = failed(check(path, "cpu_tiny"))
    assert "data.medeyes.image_root" in finding.remedy
    assert failed(check(path, "cpu_tiny", f"++data.medeyes.image_root='{path.parent}'")) == []


def test_an_image_without_pixels_has_the_sizes_of_one_with_pixels() -> None:
    size, bounds = Size(701, 433), PixelBounds()
    real, hollow = Image.new("RGB", size), SizeOnlyImage(size)
    assert view_of(hollow, bounds).size == view_of(real, bounds).size
    for box in (Box(0, 0, 701, 433), Box(10.4, 20.6, 90, 44), Box(600, 0, 701, 60)):
        assert crop_of(hollow, box, bounds).size == crop_of(real, box, bounds).size
