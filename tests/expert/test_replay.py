"""Replay: bounded, ordered, saved whole, and what a policy wrote comes back as what it wrote."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medeyes_verl.expert.replay import ReplayBuffer, ReplaySettings, choose_off_policy, trajectory_of
from medeyes_verl.expert.store import StoreError
from medeyes_verl.expert.trajectory import ExpertStep, Trajectory, turn_texts
from medeyes_verl.gaze.episode import Episode
from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.gaze.settings import EpisodeSettings


def success(question: str, number: int, correct: bool = True) -> Trajectory:
    return Trajectory(question, (ExpertStep("scan", Box(0, 0, 50 + number, 60)),), "seen", "ring", correct, "replay")


def numbers(trajectories: list[Trajectory]) -> list[int]:
    return [int(each.steps[0].box.x2) - 50 for each in trajectories]


def test_by_recency_the_newest_stay() -> None:
    buffer = ReplayBuffer(ReplaySettings(per_question=2))
    for step, number in enumerate((1, 2, 3)):
        assert buffer.add(success("q", number), reward=1.0 - step / 10, step=step)
    assert numbers(buffer.get("q", 5)) == [3, 2]
    assert numbers(buffer.get("q", 1)) == [3]
    assert buffer.get("nobody", 3) == []
    assert len(buffer) == 2


def test_by_reward_the_best_stay_and_the_newer_of_equals() -> None:
    buffer = ReplayBuffer(ReplaySettings(per_question=2, order="reward"))
    buffer.add(success("q", 1), 0.9, 0)
    buffer.add(success("q", 2), 0.8, 1)
    assert not buffer.add(success("q", 3), 0.5, 2)
    assert numbers(buffer.get("q", 5)) == [1, 2]
    assert buffer.add(success("q", 4), 0.8, 3)
    assert numbers(buffer.get("q", 5)) == [1, 4]


def test_only_successes_are_kept() -> None:
    buffer = ReplayBuffer(ReplaySettings(min_reward=0.5))
    assert not buffer.add(success("q", 1, correct=False), 1.0, 0)
    assert not buffer.add(success("q", 1), 0.5, 0)
    assert len(buffer) == 0


def test_the_same_trajectory_is_kept_once() -> None:
    buffer = ReplayBuffer(ReplaySettings())
    buffer.add(success("q", 1), 1.0, 0)
    buffer.add(success("q", 2), 1.0, 1)
    buffer.add(success("q", 1), 1.0, 2)
    assert numbers(buffer.get("q", 5)) == [1, 2]
    assert len(buffer) == 2


def test_beyond_the_capacity_the_question_not_met_for_longest_goes() -> None:
    buffer = ReplayBuffer(ReplaySettings(per_question=2, capacity=3))
    for step, question in enumerate(("a", "b", "a", "c")):
        buffer.add(success(question, step), 1.0, step)
    assert buffer.get("b", 1) == []
    assert len(buffer.get("a", 9)) == 2
    assert len(buffer) == 3


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.floats(0, 1)), max_size=60), st.booleans())
def test_the_bounds_always_hold(moves: list[tuple[str, int, float]], by_reward: bool) -> None:
    buffer = ReplayBuffer(ReplaySettings(per_question=3, capacity=5, order="reward" if by_reward else "recency"))
    for step, (question, number, reward) in enumerate(moves):
        buffer.add(success(question, number), reward, step)
    held = [buffer.get(question, 99) for question in "abc"]
    assert all(len(each) <= 3 for each in held)
    assert len(buffer) == sum(len(each) for each in held) <= 5
    assert all(len(set(each)) == len(each) for each in held)


@pytest.mark.parametrize("order", ["recency", "reward"])
def test_a_saved_buffer_comes_back(tmp_path: Path, order: str) -> None:
    settings = ReplaySettings(per_question=3, capacity=6, order=order)  # type: ignore[arg-type]
    buffer, rng = ReplayBuffer(settings), random.Random(0)
    for step in range(60):
        buffer.add(success(rng.choice("abcd"), rng.randrange(20)), rng.random(), step)
    buffer.save(tmp_path / "replay.sqlite")
    back = ReplayBuffer.restore(tmp_path / "replay.sqlite", settings)
    assert [back.get(each, 9) for each in "abcd"] == [buffer.get(each, 9) for each in "abcd"]
    for each in (buffer, back):
        each.add(success("e", 1), 0.5, 99)
    assert [back.get(each, 9) for each in "abcde"] == [buffer.get(each, 9) for each in "abcde"]
    smaller = ReplayBuffer.restore(tmp_path / "replay.sqlite", ReplaySettings(1, 2, order))  # type: ignore[arg-type]
    assert len(smaller) == 2


def test_an_empty_buffer_is_saved_too(tmp_path: Path) -> None:
    ReplayBuffer(ReplaySettings()).save(tmp_path / "replay.sqlite")
    assert len(ReplayBuffer.restore(tmp_path / "replay.sqlite", ReplaySettings())) == 0


def test_a_damaged_buffer_is_a_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "replay.sqlite"
    buffer = ReplayBuffer(ReplaySettings())
    buffer.add(success("q", 1), 1.0, 0)
    buffer.save(file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(StoreError, match=r"replay\.sqlite"):
        ReplayBuffer.restore(file, ReplaySettings())


def test_impossible_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="per_question"):
        ReplaySettings(per_question=0)
    with pytest.raises(ValueError, match="capacity"):
        ReplaySettings(per_question=9, capacity=3)


def test_what_the_policy_wrote_comes_back_as_it_wrote_it() -> None:
    settings = EpisodeSettings()
    texts = [
        '<reasoning>scan</reasoning>\n<action>{"name": "Gaze", "coordinate": [28, 56, 140, 168]}</action>',
        "<reasoning>a mass</reasoning>\n<answer>ring</answer>",
    ]
    episode = Episode([Image.new("RGB", (1000, 800))], settings)
    for text in texts:
        episode.reply(text)
    made = trajectory_of("q", episode.trace, correct=True)
    assert made is not None
    assert made.source == "replay"
    assert turn_texts(made, settings, [Size(1000, 800)]) == texts


def test_an_episode_with_a_fault_is_no_success() -> None:
    episode = Episode([Image.new("RGB", (1000, 800))], EpisodeSettings())
    texts = ["<reasoning>x</reasoning>", "<reasoning>a mass</reasoning>\n<answer>ring</answer>"]
    for text in texts:
        episode.reply(text)
    assert trajectory_of("q", episode.trace, correct=True) is None


E, R = [success("q", n) for n in range(3)], [success("q", n) for n in range(10, 12)]


@pytest.mark.parametrize(
    ("source", "experts", "replayed", "step", "chosen"),
    [
        ("experts", E, R, 0, [0, 1]),
        ("experts", E, R, 1, [2, 0]),
        ("experts", E[:1], R, 5, [0]),
        ("experts", [], R, 0, []),
        ("replay", E, R, 3, [10, 11]),
        ("replay", E, [], 3, []),
        ("mixed", E, R, 0, [0, 10]),
        ("mixed", E, [], 0, [0, 1]),
        ("mixed", [], R, 0, [10, 11]),
        ("mixed", E[:1], R[:1], 0, [0, 10]),
        ("mixed", [], [], 0, []),
    ],
)
def test_off_policy_sources(
    source: str, experts: list[Trajectory], replayed: list[Trajectory], step: int, chosen: list[int]
) -> None:
    assert numbers(choose_off_policy(source, experts, replayed, 2, step)) == chosen  # type: ignore[arg-type]
