"""The example's reward parts in the reward manager, an evaluation, a validation's log and preflight."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medeyes_verl.data.row import read_rows
from medeyes_verl.evaluation.episode_log import LoggedEpisode
from medeyes_verl.evaluation.player import play_texts
from medeyes_verl.evaluation.recipe import Recipe
from medeyes_verl.evaluation.results import write_results
from medeyes_verl.gaze.trace import EpisodeTrace, TraceTurn
from medeyes_verl.import_path import ImportPathError
from medeyes_verl.reward.compose import RewardSettings
from medeyes_verl.reward.parts import RESERVED, RowFacts, ScoreError, load_parts, score_parts
from medeyes_verl.settings.reader import SettingError, read

EXAMPLE = Path(__file__).parents[2] / "examples" / "reward_part.py"
PARTS = [
    {"name": "r_brevity", "weight": 0.1, "path": f"{EXAMPLE}:brevity"},
    {"name": "r_hedging", "weight": -0.2, "path": f"{EXAMPLE}:hedging"},
]


def reward_of(given: dict[str, Any]) -> RewardSettings:
    return read(RewardSettings, given, "reward.medeyes")


SETTINGS = reward_of({"parts": PARTS})
TURN = TraceTurn("", "ten words " * 5, None)
TRACE = EpisodeTrace((TURN,), "Possibly a ring.", "answered")
OPEN = RowFacts("ring", "open")


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 40


def test_the_example_by_hand() -> None:
    scored = asyncio.run(score_parts(SETTINGS.parts, TRACE, OPEN))
    assert scored.scores == {"r_brevity": pytest.approx(0.75), "r_hedging": 1.0}
    assert scored.others == {"r_brevity.words": 10.0}
    assert scored.total == pytest.approx(0.1 * 0.75 - 0.2)


def test_an_evaluation_scores_with_the_parts_and_names_what_fails(table: Path, recipe: Recipe, tmp_path: Path) -> None:
    failing = tmp_path / "failing.py"
    failing.write_text("def part(trace, row):\n    return 1.0 if row.question_type == 'open' else 1 / 0\n")
    rows = list(read_rows(table))[:6]

    def played(settings: RewardSettings) -> list[LoggedEpisode]:
        scored = replace(recipe, reward=settings)
        texts = ["<reasoning>a ring, maybe</reasoning>\n<answer>maybe a ring</answer>"]
        return [asyncio.run(play_texts(row, scored, texts, "t", "on_policy")) for row in rows]

    episodes = played(SETTINGS)
    assert [episode.scores.parts["r_hedging"] for episode in episodes] == [0, 1, 0, 0, 1, 0], "two of six are open"
    assert LoggedEpisode.from_dict(episodes[0].as_dict()) == episodes[0]
    summary = write_results(tmp_path, episodes, {}, {}, "title")
    assert summary["made_up/val"]["overall"]["part:r_hedging"] == pytest.approx(1 / 3)
    assert "r_hedging | not scored" in (tmp_path / "results.md").read_text()

    own = played(reward_of({"parts": [{"name": "r_own", "path": f"{failing}:part"}]}))
    assert [episode.scores.error is None for episode in own] == [False, True, False, False, True, False]
    assert "r_own" in str(own[0].scores.error)
    assert "ZeroDivisionError" in str(own[0].scores.error)
    assert write_results(tmp_path, own, {}, {}, "title")["made_up/val"]["overall"]["not_scored"] == 4


def test_a_part_without_weight_is_not_called_nor_loaded() -> None:
    off = reward_of({"parts": [{"name": "off", "weight": 0, "path": "absent.py:part"}]})
    assert load_parts(off.parts) == ()
    assert asyncio.run(score_parts(off.parts, TRACE, OPEN)).scores == {}
    with pytest.raises(ImportPathError, match=r"reward.medeyes.parts\[0\].path=absent.py:part: there is no file"):
        load_parts(reward_of({"parts": [{"name": "on", "path": "absent.py:part"}]}).parts)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"name": "a"}, r"reward.medeyes.parts=.*use a list"),
        (["a.py:b"], r"reward.medeyes.parts\[0\]='a.py:b': use a mapping with the keys name, path, weight"),
        ([{"name": "a"}], r"parts\[0\].path: is required"),
        (
            [{"name": "a", "path": "a.py:b", "wight": 1}],
            r"parts\[0\].wight=1: there is no such key; did you",
        ),
        ([{"name": "r acc", "path": "a.py:b"}], r"parts\[0\].name='r acc': use letters"),
        ([{"name": "r_acc", "path": "a.py:b"}], r"parts\[0\].name='r_acc': medeyes_verl logs a metric of this name"),
        ([{"name": "a", "path": "a.py:b", "weight": "1"}], r"parts\[0\].weight='1': use a number"),
        ([{"name": "a", "path": "a.py:b", "weight": float("nan")}], r"parts\[0\].weight"),
        ([{"name": "a", "path": 3}], r"parts\[0\].path=3: use text"),
        ([{"name": "a", "path": "a.py:b"}, {"name": "a", "path": "a.py:c"}], r"parts\[1\].name='a': another part"),
    ],
)
def test_settings_that_make_no_sense_are_named(parts: Any, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        reward_of({"parts": parts})


@pytest.mark.parametrize("result", [float("nan"), "0.5", None, {"value": 1.0}])
def test_what_is_no_score_is_refused(tmp_path: Path, result: Any) -> None:
    own = tmp_path / "own.py"
    own.write_text(f"nan = float('nan')\ndef part(trace, row):\n    return {result!r}\n")
    settings = reward_of({"parts": [{"name": "r_own", "path": f"{own}:part"}]})
    with pytest.raises(ScoreError, match="the reward part r_own"):
        asyncio.run(score_parts(settings.parts, TRACE, OPEN))


def test_names_of_the_reward_manager_and_of_metrics_are_reserved() -> None:
    from medeyes_verl.plugin.reward_manager import _logged
    from medeyes_verl.reward.compose import RewardParts

    assert _logged(RewardParts.zero(), 0).keys() <= RESERVED
