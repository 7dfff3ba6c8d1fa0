"""The log: what goes in comes out, a killed writer costs no more than its last lines."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medeyes_verl.evaluation.episode_log import EpisodeLog, LoggedEpisode, read_episodes
from medeyes_verl.gaze.trace import TraceTurn


def test_an_episode_comes_back_from_json_as_it_was(logged_episode: LoggedEpisode) -> None:
    assert LoggedEpisode.from_dict(json.loads(json.dumps(logged_episode.as_dict()))) == logged_episode


@given(text=st.text(), error=st.none() | st.text())
def test_no_text_of_a_model_breaks_a_line(
    tmp_path_factory: pytest.TempPathFactory, logged_episode: LoggedEpisode, text: str, error: str
) -> None:
    path = tmp_path_factory.mktemp("log") / "episodes.jsonl"
    episode = replace(
        logged_episode, trace=replace(logged_episode.trace, turns=(TraceTurn(text, text, None),)), error=error
    )
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


def test_lines_from_before_the_trace_had_a_version_are_read(logged_episode: LoggedEpisode) -> None:
    """As release 0.1.0's first log wrote the same episode; each turn gets back its own faults and mode."""
    gaze = '<reasoning>scan</reasoning>\n<action>{"name": "Gaze", "coordinate": [%s]}</action>'
    plain = logged_episode.as_dict()
    del plain["trace"]
    plain |= {
        "image_sizes": [[448, 448]],
        "view_sizes": [[112, 112]],
        "tokens": 61,
        "record": {
            "boxes": [[0.5, 0, 112, 112]],
            "images": [1],
            "modes": ["drill"],
            "answer": "ring",
            "faults": ["missing_reasoning", "malformed_action", "tiny_box", "text_outside_tags"],
            "turns": 4,
            "finish": "answered",
        },
        "turns": [
            {"text": "<action>{}</action>", "observation": "Malformed action.", "box": None, "image": 1},
            {"text": gaze % "1, 1, 2, 2", "observation": "Tiny box.", "box": None, "image": 1},
            {"text": gaze % "0, 0, 28, 28", "observation": "", "box": [0.5, 0, 112, 112], "image": 1},
            {"text": "so <reasoning>x</reasoning><answer>ring</answer>", "observation": None, "box": None, "image": 1},
        ],
    }
    trace = LoggedEpisode.from_dict(json.loads(json.dumps(plain))).trace
    assert [[fault.value for fault in turn.faults] for turn in trace.turns] == [
        ["missing_reasoning", "malformed_action"],
        ["tiny_box"],
        [],
        ["text_outside_tags"],
    ]
    assert [turn.mode for turn in trace.turns] == [None, None, "drill", None]
    assert (trace.num_tokens, trace.num_turns, trace.answer, trace.finish) == (61, 4, "ring", "answered")
    assert (trace.image_sizes, trace.view_sizes) == (logged_episode.trace.image_sizes, logged_episode.trace.view_sizes)


def test_a_later_version_is_refused_by_name(logged_episode: LoggedEpisode) -> None:
    plain = logged_episode.as_dict()
    plain["trace"]["version"] = 99
    with pytest.raises(ValueError, match="trace version 99 is unknown: this medeyes_verl reads version 1"):
        LoggedEpisode.from_dict(plain)
