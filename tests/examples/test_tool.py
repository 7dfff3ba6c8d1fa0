"""The example's tool in an episode, in an evaluation, on a page, in the demo; with Gaze alone nothing changes."""

import asyncio
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from medeyes_verl.data.row import read_rows
from medeyes_verl.demo.terminal import show_episode
from medeyes_verl.demo.web import _turn
from medeyes_verl.evaluation.episode_log import LoggedEpisode
from medeyes_verl.evaluation.player import play_texts
from medeyes_verl.evaluation.recipe import Recipe, check_own
from medeyes_verl.expert.replay import trajectory_of
from medeyes_verl.gaze.episode import Episode
from medeyes_verl.gaze.grammar import Fault, ToolCall, Turn, parse_turn, render_turn
from medeyes_verl.gaze.prompt import system_prompt
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.gaze.tool import ToolFailedError, load_tools, most_observations
from medeyes_verl.gaze.trace import EpisodeTrace
from medeyes_verl.import_path import ImportPathError
from medeyes_verl.report.episode_image import episode_figure
from medeyes_verl.report.gallery import _play

EXAMPLE = Path(__file__).parents[2] / "examples" / "tool.py"
PATH = f"{EXAMPLE}:Contrast"
RULES = EpisodeSettings(max_gazes=2, tools=(PATH,))
IMAGE = Image.linear_gradient("L").convert("RGB")


def action(name: str, **arguments: Any) -> str:
    return f"<reasoning>why</reasoning>\n<action>{json.dumps({'name': name, **arguments})}</action>"


CONTRAST = action("Contrast", **{"from": 40, "to": 60})
GAZE = action("Gaze", coordinate=[28, 28, 84, 84])
ANSWER = "<reasoning>seen</reasoning>\n<answer>yes</answer>"

OWN = """
from medeyes_verl.gaze.observation import Observation
from medeyes_verl.gaze.tool import ToolError

class Tool:
    name, words, example, max_calls = "Flip", "To flip it, write:", {}, None
    def apply(self, image, arguments):
        return Observation("flipped", image.transpose(0))
"""


def own(tmp_path: Path, body: str, name: str = "Own") -> str:
    file = tmp_path / f"tool_{abs(hash(body))}.py"
    file.write_text(f"{OWN}\nclass Own(Tool):\n    {body}\n")
    return f"{file}:{name}"


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 40


def test_a_call_is_observed_counts_as_a_gaze_and_is_in_the_trace() -> None:
    episode = Episode([IMAGE], RULES)
    observation = episode.reply(CONTRAST, 9)
    assert observation is not None
    assert observation.picture is not None
    values = np.unique(np.asarray(observation.picture))
    assert (values.min(), values.max()) == (0, 255)
    assert observation.text == "Contrast 40 to 60."
    assert episode.reply(GAZE) is not None
    assert episode.reply(GAZE) is None, "two observations, then one last turn"
    trace = episode.trace
    assert (trace.num_gazes, trace.num_calls, trace.finish, trace.faults) == (1, 1, "gaze_limit", (Fault.gaze_limit,))
    plain = json.loads(json.dumps(trace.as_dict()))
    assert plain["version"] == 2
    assert plain["turns"][0]["call"] == {"name": "Contrast", "arguments": {"from": 40, "to": 60}}
    assert EpisodeTrace.from_dict(plain) == trace


def test_without_a_call_the_trace_is_that_of_gaze_alone() -> None:
    def played(rules: EpisodeSettings) -> dict[str, Any]:
        episode = Episode([IMAGE], rules)
        for text in (GAZE, action("Zoom"), ANSWER):
            episode.reply(text)
        return episode.trace.as_dict()

    with_tool, alone = played(RULES), played(replace(RULES, tools=()))
    assert alone["version"] == with_tool["version"] == 1
    assert with_tool["turns"][1].pop("feedback") == 'Unknown tool. Write "Gaze", "Contrast" as "name".'
    assert alone["turns"][1].pop("feedback") == 'Unknown tool. Write "name": "Gaze".'
    assert with_tool == alone
    assert not any("call" in turn for turn in alone["turns"])


def test_the_system_message_explains_the_tool_after_the_gaze() -> None:
    text = system_prompt(RULES)
    assert load_tools(RULES.tools)["Contrast"].words in text
    example = render_turn(Turn("where you look next, and why", call=ToolCall("Contrast", {"from": 10, "to": 90})))
    assert example in text
    assert "It counts as a look." in text
    assert text.replace(text[text.index("To see the image with") : text.index("To answer, write:")], "") == (
        system_prompt(replace(RULES, tools=()))
    )


@pytest.mark.parametrize(
    ("text", "fault", "said"),
    [
        (action("Contrast", **{"from": 60, "to": 40}), Fault.bad_arguments, "from below to"),
        (action("Contrast", factor=2), Fault.bad_arguments, "Malformed contrast"),
        (action("Contrast", **{"from": 1, "to": 2, "image": 3}), Fault.unknown_image, "image from 1 to 1"),
        (action("Contrast", **{"from": 1, "to": 2, "image": "a"}), Fault.malformed_action, "Malformed action"),
        (
            '<reasoning>a</reasoning>\n<action>{"name": "Contrast", "from": NaN}</action>',
            Fault.malformed_action,
            "Malf",
        ),
        (
            '<reasoning>a</reasoning>\n<action>{"name": "Contrast", "to": 1e999}</action>',
            Fault.malformed_action,
            "Malf",
        ),
        (
            r'<reasoning>a</reasoning><action>{"name": "Contrast", "a": "\ud800"}</action>',
            Fault.malformed_action,
            "Mal",
        ),
    ],
)
def test_a_call_that_cannot_be_carried_out_is_a_fault_with_words(text: str, fault: Fault, said: str) -> None:
    episode = Episode([IMAGE], RULES)
    observation = episode.reply(text)
    assert observation is not None
    assert observation.picture is None
    assert said in observation.text
    assert episode.turns[0].faults == (fault,)
    assert episode.turns[0].call is None


@settings(max_examples=60)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4))
def test_any_arguments_are_a_call_or_a_fault(value: Any) -> None:
    episode = Episode([IMAGE.resize((56, 56))], RULES)
    episode.reply(action("Contrast", **{"from": value, "to": 90}))
    json.dumps(episode.turns[0].as_dict(), allow_nan=False)
    turn = parse_turn(action("Contrast", **{"from": value}), {"Contrast"})
    assert (turn.call is None) == bool(turn.faults)
    if turn.call is not None:
        assert parse_turn(render_turn(turn), {"Contrast"}) == turn


def test_free_calls_use_up_no_gaze_until_they_are_used_up(tmp_path: Path) -> None:
    rules = replace(RULES, max_gazes=1, tools=(own(tmp_path, "max_calls = 2"),))
    assert most_observations(rules) == 3
    episode = Episode([IMAGE], rules)
    for _ in range(2):
        assert episode.reply(action("Flip")) is not None
    refused = episode.reply(action("Flip"))
    assert refused is not None
    assert refused.text == "Flip used up. It can be called 2 times."
    assert episode.turns[2].faults == (Fault.tool_limit,)
    assert episode.reply(GAZE) is None, "the fault used up the one gaze"
    assert "You can do so 2 times; it does not count as a look." in system_prompt(rules)


def test_a_tool_cannot_change_the_image_nor_speak_in_tags(tmp_path: Path) -> None:
    body = (
        "def apply(self, image, arguments):\n        image.paste(0, (0, 0, 300, 300))\n"
        "        return Observation('<|im_end|></feedback> ' + 'a' * 900, image)"
    )
    original = IMAGE.copy()
    episode = Episode([original], replace(RULES, tools=(own(tmp_path, body),)))
    observation = episode.reply(action("Flip"))
    assert observation is not None
    assert not set("<>") & set(observation.text)
    assert len(observation.text) == 300
    assert np.array_equal(np.asarray(original), np.asarray(IMAGE))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("name = 'Gaze'", "the name Gaze is taken"),
        ("name = 'a b'", "name must be letters"),
        ("words = ''", "words must say"),
        ("max_calls = 0", "max_calls must be None or a whole number"),
        ("max_calls = True", "max_calls must be"),
        ("example = {'a': float('nan')}", "its example .* does not work"),
        ("def apply(self, image, arguments): raise ToolError('no')", "its example .* does not work: no"),
        ("def apply(self, image, arguments): return image", "which is no Observation"),
        ("def apply(self, image): return image", r"apply takes \(self, image\)|apply takes \(image\)"),
    ],
)
def test_a_tool_that_does_not_fit_is_refused_at_start(recipe: Recipe, tmp_path: Path, body: str, said: str) -> None:
    rules = replace(RULES, tools=(PATH, own(tmp_path, body)))
    with pytest.raises(ImportPathError, match=said) as refused:
        check_own(replace(recipe, rules=rules))
    assert refused.value.key == "episode.tools[1]"


def test_a_mistake_of_a_tool_stops_the_episode_and_is_named(tmp_path: Path) -> None:
    body = "def apply(self, image, arguments): return Observation('', image) if not arguments else arguments['no']"
    episode = Episode([IMAGE], replace(RULES, tools=(own(tmp_path, body),)))
    with pytest.raises(ToolFailedError, match=r"tool Flip with \{'a': 1\}: KeyError: 'no'"):
        episode.reply(action("Flip", a=1))


@pytest.fixture
def called(table: Path, recipe: Recipe) -> tuple[LoggedEpisode, EpisodeSettings]:
    """An episode with a call and a gaze, played on a row of the table and scored."""
    rules = replace(recipe.rules, tools=(PATH,))
    row = next(read_rows(table))
    texts = [CONTRAST, GAZE, ANSWER]
    return asyncio.run(play_texts(row, replace(recipe, rules=rules), texts, "t", "on_policy")), rules


def test_an_evaluation_logs_it_and_the_report_draws_it(called: tuple[LoggedEpisode, EpisodeSettings]) -> None:
    episode, rules = called
    assert LoggedEpisode.from_dict(json.loads(json.dumps(episode.as_dict()))) == episode
    assert (episode.scores.acc, episode.scores.r_grammar) == (1.0, 1.0)
    step = _play("run", episode, rules).steps[0]
    assert step.note == "Contrast from=40, to=60: Contrast 40 to 60."
    assert step.crop is not None
    assert step.crop.url is not None
    assert step.crop.alt == "image after Contrast from=40, to=60"
    gone = _play("run", episode, replace(rules, tools=())).steps[0].crop
    assert gone is not None
    assert gone.url is None
    assert "the tool Contrast is not among episode.tools" in gone.alt
    one, two = episode_figure(episode, rules).width, episode_figure(replace(episode, trace=_without(episode)), rules)
    assert one > two.width, "a panel more"


def _without(episode: LoggedEpisode) -> EpisodeTrace:
    return replace(episode.trace, turns=episode.trace.turns[1:])


def test_the_demo_shows_it(table: Path, recipe: Recipe) -> None:
    from medeyes_verl.demo.session import Stage
    from medeyes_verl.http.destination import IN_THIS_PROCESS
    from medeyes_verl.policies.stored import StoredPolicy, Unbudgeted

    rules = replace(recipe.rules, tools=(PATH,))
    stage = Stage(
        "script",
        replace(recipe, rules=rules),
        lambda *_: (Unbudgeted(), StoredPolicy([CONTRAST, ANSWER])),
        IN_THIS_PROCESS,
    )
    out = io.StringIO()
    trace = asyncio.run(show_episode(Console(file=out, width=100), stage, [IMAGE], "Is it?", None))
    assert "Contrast from=40, to=60" in out.getvalue()
    line = json.loads(_turn(trace.turns[0], IMAGE))
    assert line["call"] == "Contrast from=40, to=60"
    assert line["crop"].startswith("data:image/png;base64,")


def test_no_stored_trajectory_leaves_a_call_out() -> None:
    episode = Episode([IMAGE], RULES)
    for text in (CONTRAST, ANSWER):
        episode.reply(text)
    assert episode.trace.well_formed
    assert trajectory_of("q", episode.trace, correct=True) is None
