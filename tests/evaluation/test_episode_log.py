"""The log: what goes in comes out, a killed writer costs no more than its last lines."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medeyes_verl.evaluation.episode_log import EpisodeLog, LoggedEpisode, LoggedTurn, read_episodes


def test_an_episode_comes_back_from_json_as_it_was(logged_episode: LoggedEpisode) -> None:
    assert LoggedEpisode.from_dict(json.loads(json.dumps(logged_episode.as_dict()))) == logged_episode


@given(text=st.text(), error=st.none() | st.text())
def test_no_text_of_a_model_breaks_a_line(
    tmp_path_factory: pytest.TempPathFactory, logged_episode: LoggedEpisode, text: str, error: str
) -> None:
    path = tmp_path_factory.mktemp("log") / "episodes.jsonl"
    episode = replace(logged_episode, turns=(LoggedTurn(text, None, None),), error=error)
    with EpisodeLog(path) as log:
        log.append(episode)
    assert read_episodes(path) == [episode]


def test_a_half_written_line_is_cut_off_and_its_episode_not_done(tmp_path: Path, logged_episode: LoggedEpisode) -> None:
    path = tmp_path / "episodes.jsonl"
    with EpisodeLog(path) as log:
        log.append(logged_episode)
        log.append(replace(logged_episode, sample=1))
    path.write_bytes(path.read_bytes()[:-20])
    assert [episode.sample for episode in read_episodes(path)] == [0]
    with EpisodeLog(path) as log:
        assert log.done == {("phantom", "q1", 0)}
        log.append(replace(logged_episode, sample=1))
    assert [episode.sample for episode in read_episodes(path)] == [0, 1]


def test_a_failed_episode_is_not_done_and_its_second_try_counts(tmp_path: Path, logged_episode: LoggedEpisode) -> None:
    path = tmp_path / "episodes.jsonl"
    with EpisodeLog(path) as log:
        log.append(replace(logged_episode, error="refused"))
        log.append(replace(logged_episode, id="q2"))
    with EpisodeLog(path) as log:
        assert log.done == {("phantom", "q2", 0)}
        log.append(logged_episode)
    assert [(episode.id, episode.error) for episode in read_episodes(path)] == [("q1", None), ("q2", None)]


def test_what_is_written_is_on_disk_even_when_the_run_fails(tmp_path: Path, logged_episode: LoggedEpisode) -> None:
    path = tmp_path / "episodes.jsonl"

    def die(log: EpisodeLog) -> None:
        log.append(logged_episode)
        raise RuntimeError("the endpoint died")

    with pytest.raises(RuntimeError), EpisodeLog(path) as log:
        die(log)
    assert read_episodes(path) == [logged_episode]


@pytest.mark.parametrize("line", ["{}", "[]", "not json", '{"id": "q"}', '"text"', "1"])
def test_a_foreign_line_is_named(tmp_path: Path, logged_episode: LoggedEpisode, line: str) -> None:
    path = tmp_path / "episodes.jsonl"
    path.write_text(json.dumps(logged_episode.as_dict()) + f"\n{line}\n")
    with pytest.raises(ValueError, match=r"episodes\.jsonl, line 2"):
        read_episodes(path)
