"""The example's Chinese templates: for the policy in an evaluation, for experts, for an endpoint oracle, for faults."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from medeyes_verl.cli.experts import experts
from medeyes_verl.data.image_store import StoredPicture
from medeyes_verl.data.row import Region, Row, write_rows
from medeyes_verl.evaluation.recipe import Recipe, read_recipe
from medeyes_verl.evaluation.run import Endpoint, Work, evaluate, read_tables, settings_of
from medeyes_verl.expert.oracles.endpoint import EndpointOracle, EndpointSettings
from medeyes_verl.expert.store import TrajectoryStore
from medeyes_verl.gaze.episode import Episode
from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.policies.chat import Requests, Sampling
from medeyes_verl.prompts.files import PHRASES, TEXTS
from medeyes_verl.prompts.templates import check_folder

FOLDER = str(Path(__file__).parents[2] / "examples" / "prompts_zh")
CHINESE = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture
def chinese(recipe: Recipe) -> Recipe:
    return replace(recipe, system_prompt=True, rules=replace(recipe.rules, prompts=FOLDER))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    Image.effect_noise((448, 448), 20).convert("RGB").save(tmp_path / "p.png")
    picture = (StoredPicture(path=str(tmp_path / "p.png"), size=Size(448, 448)),)
    regions = (Region(Box(200, 100, 264, 164), "环", target=True), Region(Box(20, 20, 80, 80), "decoy"))
    rows = [
        Row("made_up", "train", f"q{i}", "病灶是什么？", "环", "open", picture, expert_id=f"q{i}", regions=regions)
        for i in range(2)
    ]
    write_rows(tmp_path / "train.parquet", rows)
    return tmp_path / "train.parquet"


def build(command: str, data: Path, *words: str) -> tuple[int, str]:
    arguments = [command, "--data", str(data), "--store", str(data.parent / "store"), "--n", "2", *words]
    result = CliRunner().invoke(experts, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def test_each_file_is_short_and_the_folder_whole() -> None:
    files = {path.name: path for path in Path(FOLDER).iterdir()}
    assert files.keys() - {"README.md"} == {*TEXTS, *PHRASES}
    assert all(len(path.read_text(encoding="utf-8").splitlines()) < 40 for path in files.values())
    check_folder(FOLDER)


def test_an_evaluation_asks_in_chinese(
    endpoints: Callable[..., Any], good_policy: Any, table: Path, chinese: Recipe, tmp_path: Path
) -> None:
    endpoint = endpoints(good_policy)
    requests = Requests(model="scripted", turn_tokens=64, sampling=Sampling())
    work = Work(rows=read_tables([table], limit=2))
    evaluate(Endpoint(base_url=endpoint.url), requests, chinese, work, tmp_path, concurrency=1)
    system = endpoint.bodies[0]["messages"][0]
    assert system["role"] == "system"
    assert "最多可以放大查看 3 个区域" in system["content"]
    assert "第 1 张 112×112" in system["content"]
    english = replace(chinese, rules=replace(chinese.rules, prompts=None))
    stamps = [
        settings_of(model="m", recipe=each, requests=requests, tables=[table], exact_budget=False)["code"]["prompts"]
        for each in (chinese, english)
    ]
    assert stamps[0] != stamps[1] is None, "an evaluation in other words is another evaluation"


def test_a_fault_is_answered_in_chinese(chinese: Recipe) -> None:
    episode = Episode([Image.new("RGB", (448, 448))], chinese.rules)
    observation = episode.reply('<reasoning>a</reasoning>\n<action>{"name": "Zoom"}</action>')
    assert observation is not None
    assert observation.text == '没有这个工具。请写 "name": "Gaze"。'


@pytest.mark.parametrize("command", ["script", "build"])
def test_experts_speak_chinese(data: Path, command: str) -> None:
    status, output = build(command, data, "--prompts", FOLDER)
    assert status == 0, output
    store = TrajectoryStore(data.parent / "store")
    made = store.get("q1")
    assert len(made) == 2
    for trajectory in made:
        assert all(CHINESE.search(step.reasoning) for step in trajectory.steps)
        assert not re.search("[a-z]", trajectory.conclusion)
    entry = store.entry("q1")
    assert entry is not None
    assert len(entry.record["prompts"]) == 64, "the store says which words it was made with"


def test_words_that_would_not_be_read_are_refused(data: Path, tmp_path: Path) -> None:
    status, output = build("script", data, "--prompts", FOLDER, "--preset", "tiny")
    assert status == 1
    assert "script.yaml would not be read" in output
    status, output = build("build", data, "--prompts", str(tmp_path / "absent"))
    assert status == 1
    assert "there is no such folder" in output


def test_an_endpoint_is_asked_in_chinese_and_its_replies_are_kept_apart(
    data: Path, serve: Any, reply: Any, tmp_path: Path
) -> None:
    from medeyes_verl.expert.oracles.client import HttpSettings
    from medeyes_verl.expert.question import read_questions

    said = b'{"choices": [{"message": {"content": "{\\"thought\\": \\"a\\", \\"answer\\": \\"b\\"}"}}]}'
    question = next(read_questions(data))

    async def run() -> list[dict[str, Any]]:
        async with serve(lambda *_: reply(body=said)) as server:
            for folder in (FOLDER, None, FOLDER):
                settings = EndpointSettings(HttpSettings(server.url), "m", cache=tmp_path / "c")
                oracle = EndpointOracle(settings, folder)
                await oracle.answer(question, ())
                await oracle.close()
            return list(server.requests)

    requests = asyncio.run(run())
    assert len(requests) == 2, "the third was answered from the cache of the first"
    system, user = requests[0]["messages"]
    assert system["content"].startswith("你是一位")
    assert user["content"][-1]["text"].startswith("关于图像的问题：病灶是什么？")
    assert requests[1]["messages"][0]["content"].startswith("You are an experienced")


def test_a_runs_folder_is_the_evaluations(tmp_path: Path) -> None:
    """The composed configuration of a run names the folder, which evaluation and demo read from there."""
    from omegaconf import OmegaConf

    episode = {"max_gazes": 3, "prompts": FOLDER}
    config = {"actor_rollout_ref": {"rollout": {"custom": {"medeyes": {"episode": episode}}}}}
    OmegaConf.save(OmegaConf.create(config), tmp_path / "config.yaml")
    assert read_recipe(tmp_path / "config.yaml").rules.prompts == FOLDER
