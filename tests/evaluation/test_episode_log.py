"""The log: what goes in comes out, a killed writer costs no more than its last lines."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medeyes_verl.data.row import Region
from medeyes_verl.evaluation.episode_log import EpisodeLog, LoggedEpisode, LoggedTurn, Scores, read_episodes
from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.gaze.grammar import Fault
from medeyes_verl.gaze.record import EpisodeRecord

EPISODE = LoggedEpisode(
    id="q1",
    sample=0,
    data_source="phantom",
    split="val",
    question="What is the lesion?",
    question_type="open",
    options=(),
    ground_truth="ring",
    images=("pictures/a.png",),
    image_sizes=(Size(448, 448),),
    view_sizes=(Size(112, 112),),
    organ="lung",
    modality=None,
    location=None,
    regions=(Region(Box(10, 20, 70, 80), "ring", target=True),),
    record=EpisodeRecord(
        boxes=(Box(0.5, 0, 112, 112),),
        images=(1,),
        modes=("drill",),
        answer="ring",
        faults=(Fault.tiny_box,),
        turns=3,
        finish="answered",
    ),
    turns=(
        LoggedTurn("<reasoning>scan</reasoning>", "Tiny box.", None),
        LoggedTurn("<reasoning>scan</reasoning>", "", Box(0.5, 0, 112, 112)),
        LoggedTurn("<reasoning>ring</reasoning>\n<answer>ring</answer>", None, None),
    ),
    scores=Scores(1.0, 1.0, 0.0, 1 / 6, 1.0, 1.0, 1.0),
    tokens=61,
    seconds=0.25,
    model="tiny",
)


def test_an_episode_comes_back_from_json_as_it_was() -> None:
    assert LoggedEpisode.from_dict(json.loads(json.dumps(EPISODE.as_dict()))) == EPISODE


@given(text=st.text(), error=st.none() | st.text())
def test_no_text_of_a_model_breaks_a_line(tmp_path_factory: pytest.TempPathFactory, text: str, error: str) -> None:
    path = tmp_path_factory.mktemp("log") / "episodes.jsonl"
    episode = replace(EPISODE, turns=(LoggedTurn(text, None, None),), error=error)
    with EpisodeLog(path) as log:
        log.append(episode)
    assert read_episodes(path) == [episode]


def test_a_half_written_line_is_cut_off_and_its_episode_not_done(tmp_path: Path) -> None:
    path = tmp_path / "episodes.jsonl"
    with EpisodeLog(path) as log:
        log.append(EPISODE)
        log.append(replace(EPISODE, sample=1))
    path.write_bytes(path.read_bytes()[:-20])
    assert [episode.sample for episode in read_episodes(path)] == [0]
    with EpisodeLog(path) as log:
        assert log.done == {("phantom", "q1", 0)}
        log.append(replace(EPISODE, sample=1))
    assert [episode.sample for episode in read_episodes(path)] == [0, 1]


def test_a_failed_episode_is_not_done_and_its_second_try_counts(tmp_path: Path) -> None:
    path = tmp_path / "episodes.jsonl"
    with EpisodeLog(path) as log:
        log.append(replace(EPISODE, error="refused"))
        log.append(replace(EPISODE, id="q2"))
    with EpisodeLog(path) as log:
        assert log.done == {("phantom", "q2", 0)}
        log.append(EPISODE)
    assert [(episode.id, episode.error) for episode in read_episodes(path)] == [("q1", None), ("q2", None)]


def test_what_is_written_is_on_disk_even_when_the_run_fails(tmp_path: Path) -> None:
    path = tmp_path / "episodes.jsonl"

    def die(log: EpisodeLog) -> None:
        log.append(EPISODE)
        raise RuntimeError("the endpoint died")

    with pytest.raises(RuntimeError), EpisodeLog(path) as log:
        die(log)
    assert read_episodes(path) == [EPISODE]


@pytest.mark.parametrize("line", ["{}", "[]", "not json", '{"id": "q"}', '"text"', "1"])
def test_a_foreign_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "episodes.jsonl"
    path.write_text(json.dumps(EPISODE.as_dict()) + f"\n{line}\n")
    with pytest.raises(ValueError, match=r"episodes\.jsonl, line 2"):
        read_episodes(path)
