"""Replayed experts: the tokens of the real processor, and the experts that are left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medeyes_verl.data.row import prompt_messages, read_rows
from medeyes_verl.expert.store import StoreWriter, TrajectoryStore
from medeyes_verl.expert.trajectory import turn_texts
from medeyes_verl.gaze.conversation import Conversation
from medeyes_verl.gaze.crop import crop_of, open_picture
from medeyes_verl.gaze.episode import Episode
from medeyes_verl.tiny.examples import Replayer, read_expert_rows
from medeyes_verl.tiny.model import TINY_EPISODE


def test_a_replay_has_the_tokens_of_the_real_processor(fresh, expert_rows) -> None:  # type: ignore[no-untyped-def]
    tokenizer = fresh.processor.tokenizer
    for row in expert_rows.rows:
        for trajectory in row.trajectories:
            example = Replayer(TINY_EPISODE, fresh.tokens).whole(row, trajectory)
            episode = Episode([open_picture(path) for path in row.question.image_paths], TINY_EPISODE)
            real = Conversation(fresh.processor, row.messages, episode.views, 4096)
            texts = turn_texts(trajectory, TINY_EPISODE, row.question.image_sizes)
            for text in texts:
                ids = tokenizer.encode(text, add_special_tokens=False)
                real.add_turn(ids, [0.0] * len(ids))
                observation = episode.reply(text)
                if observation is not None:
                    real.add_observation(observation)
            assert episode.trace.well_formed
            assert example.ids == real.prompt_ids + real.response_ids
            assert example.weights == [0] * len(real.prompt_ids) + real.response_mask
            own = [token for token, mine in zip(example.ids, example.weights, strict=True) if mine]
            assert tokenizer.decode(own) == "".join(texts)


def test_where_to_look_next_can_be_learnt_without_that_one_does(fresh, expert_rows) -> None:  # type: ignore[no-untyped-def]
    """What weighs less are the words before every gaze but the first; the tokens are the same."""
    row = expert_rows.rows[0]
    trajectory = max(row.trajectories, key=lambda each: len(each.steps))
    assert len(trajectory.steps) > 1
    usual = Replayer(TINY_EPISODE, fresh.tokens).whole(row, trajectory)
    without = Replayer(TINY_EPISODE, fresh.tokens).whole(row, trajectory, going_on=0.0)
    little = Replayer(TINY_EPISODE, fresh.tokens).whole(row, trajectory, going_on=0.25)
    assert without.ids == little.ids == usual.ids
    every = zip(usual.weights, without.weights, little.weights, strict=True)
    assert {weights for weights in every if weights[0] != weights[1]} == {(1, 0, 0.25)}
    tokenizer = fresh.processor.tokenizer
    first, *between, last = turn_texts(trajectory, TINY_EPISODE, row.question.image_sizes)
    learnt = tokenizer.decode([token for token, mine in zip(without.ids, without.weights, strict=True) if mine])
    assert learnt == first + "".join("</reasoning>" + text.partition("</reasoning>")[2] for text in between) + last
    one_look = replace(trajectory, steps=trajectory.steps[:1])
    for going_on in (1.0, 0.0):
        weights = Replayer(TINY_EPISODE, fresh.tokens).whole(row, one_look, going_on).weights
        assert sum(weights) == len(tokenizer.encode(first + last, add_special_tokens=False))


def test_where_to_gaze_can_be_learnt_without_that_one_does(fresh, expert_rows) -> None:  # type: ignore[no-untyped-def]
    """What weighs less are the words before the first gaze, in a whole replay as in its first turn."""
    row = expert_rows.rows[0]
    trajectory = max(row.trajectories, key=lambda each: len(each.steps))
    replayer, tokenizer = Replayer(TINY_EPISODE, fresh.tokens), fresh.processor.tokenizer
    first = turn_texts(trajectory, TINY_EPISODE, row.question.image_sizes)[0]
    reasoning = first.partition("</reasoning>")[0]
    for replay in (replayer.whole, replayer.first_turn):
        usual, little = replay(row, trajectory), replay(row, trajectory, gazing=0.25)
        assert little.ids == usual.ids
        every = zip(usual.ids, usual.weights, little.weights, strict=True)
        assert tokenizer.decode([token for token, one, other in every if (one, other) == (1, 0.25)]) == reasoning
    at_once = replace(trajectory, steps=())
    for replay in (replayer.whole, replayer.first_turn):
        assert set(replay(row, at_once, gazing=0.25).weights) == {0, 1}, "there is no gaze to decide on"


def test_pictures_are_the_view_and_the_crops_and_name_their_part(fresh, expert_rows) -> None:  # type: ignore[no-untyped-def]
    row = expert_rows.rows[0]
    trajectory = max(row.trajectories, key=lambda each: len(each.steps))
    example = Replayer(TINY_EPISODE, fresh.tokens).whole(row, trajectory)
    original = open_picture(row.question.image_paths[0])
    assert [part.as_list() for part in example.parts if part] == [
        [0, 0, 448, 448],
        *(step.box.as_list() for step in trajectory.steps),
    ]
    for step, picture in zip(trajectory.steps, example.pictures[1:], strict=True):
        assert np.array_equal(picture, np.asarray(crop_of(original, step.box, TINY_EPISODE.crop)))


def test_a_cut_replay_ends_with_its_first_turn(fresh, expert_rows) -> None:  # type: ignore[no-untyped-def]
    row = expert_rows.rows[0]
    whole = Replayer(TINY_EPISODE, fresh.tokens).whole(row, row.trajectories[0])
    cut = Replayer(TINY_EPISODE, fresh.tokens).first_turn(row, row.trajectories[0])
    assert cut.ids == whole.ids[: len(cut.ids)]
    assert cut.weights[-1] == 1
    assert len(cut.pictures) == len(cut.parts) == 1
    assert np.array_equal(cut.pictures[0], whole.pictures[0])
    assert fresh.processor.tokenizer.decode(cut.ids).endswith("</action>")


def test_experts_that_cannot_be_learnt_from_are_counted(benchmark, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    known = TrajectoryStore(benchmark.experts)
    ids = [row["extra_info"]["expert_id"] for row in read_rows(benchmark.train)]
    good = known.get(ids[0])
    long = next(each for each in good if each.steps)
    with StoreWriter(tmp_path / "store") as writer:
        writer.add(ids[0], [good[0], replace(good[1], correct=False), replace(long, steps=long.steps[:1] * 4)])
        writer.add(ids[1], [replace(known.get(ids[1])[0], correct=False)])
    found = read_expert_rows(benchmark.train, tmp_path / "store", TINY_EPISODE)
    assert [row.trajectories for row in found.rows] == [(good[0],)]
    assert found.counts == {
        "questions": 1,
        "trajectories": 1,
        "without experts": 7,
        "wrong answer": 2,
        "too many gazes": 1,
    }
    with pytest.raises(ValueError, match=r"val\.parquet"):
        read_expert_rows(benchmark.val, benchmark.experts, TINY_EPISODE)


def test_messages_have_the_form_in_which_verl_hands_them_on() -> None:
    row = {"prompt": [{"role": "user", "content": "<image><image>Which?\nA. <b>"}]}
    assert prompt_messages(row) == [
        {"role": "user", "content": [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "Which?\nA. <b>"}]}
    ]
