"""Trial games: every one is finished by the real episode, and the score adds up."""

from __future__ import annotations

from typing import Any

import pytest

from medeyes_verl.data.row import Region, read_rows
from medeyes_verl.expert.question import Question
from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.gaze.grammar import Fault
from medeyes_verl.gaze.trace import Mode
from medeyes_verl.tiny.model import TINY_EPISODE
from medeyes_verl.tiny.play import Game, play, score
from tests.traces import trace_of

WHOLE, TARGET, ELSEWHERE = Box(0, 0, 448, 448), Box(0, 0, 112, 112), Box(300, 300, 400, 400)


def question(*regions: Region) -> Question:
    return Question("q", "What?", "open", "ring", (), ("/none.png",), (Size(448, 448),), regions)


def game(name: str, answer: str | None, *boxes: Box, faults: tuple[Fault, ...] = ()) -> Game:
    modes: list[Mode] = ["scan" if box == WHOLE else "drill" for box in boxes]
    trace = trace_of(*boxes, answer=answer, modes=modes, faults=faults)
    return Game(name, question(Region(TARGET, "ring", True)), trace, answer == "ring")


def test_the_score_adds_up() -> None:
    games = [
        game("a", "ring", ELSEWHERE, TARGET),
        game("a", "bar", WHOLE),
        game("b", "ring", TARGET),
        game("b", "ring", faults=(Fault.missing_reasoning,)),
    ]
    found = score(games)
    assert found.accuracy == 0.75
    assert found.well_formed == 0.75
    assert found.gazes == 1.0
    assert found.found == 0.5  # a look at the whole picture finds nothing
    assert found.found_first == 0.25
    assert found.mixed == 0.5


def test_one_game_a_question_is_no_group_and_no_marks_no_coverage() -> None:
    unmarked = Game("a", question(), game("a", "ring").trace, True)
    found = score([unmarked])
    assert (found.mixed, found.found, found.accuracy) == (None, None, 1.0)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_even_a_fresh_policy_finishes_its_games(fresh: Any, benchmark: Any, temperature: float) -> None:
    rows = list(read_rows(benchmark.val))
    games = play(fresh.model, fresh.processor, rows, TINY_EPISODE, rollouts=2, temperature=temperature, seed=4)
    assert [each.id for each in games] == [row["extra_info"]["id"] for row in rows for _ in range(2)]
    assert all(each.trace.num_turns <= TINY_EPISODE.max_gazes + 1 for each in games)
    again = play(fresh.model, fresh.processor, rows, TINY_EPISODE, rollouts=2, temperature=temperature, seed=4)
    assert again == games
