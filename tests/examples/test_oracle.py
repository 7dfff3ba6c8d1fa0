"""The example's oracle through `experts build` and as a live oracle; what does not fit is refused before a question."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from medeyes_verl.cli.experts import experts
from medeyes_verl.data.image_store import StoredPicture
from medeyes_verl.data.row import Row, write_rows
from medeyes_verl.expert.oracles.own import OwnOracle, oracle_maker
from medeyes_verl.expert.oracles.protocol import OracleError
from medeyes_verl.expert.question import read_questions
from medeyes_verl.expert.store import TrajectoryStore
from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.import_path import ImportPathError

EXAMPLE = Path(__file__).parents[2] / "examples" / "oracle.py"
PATH = f"{EXAMPLE}:BrightPatches"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two questions about a black image with one white quarter."""
    image = Image.new("L", (448, 448))
    image.paste(255, (336, 0, 448, 112))
    image.save(tmp_path / "p.png")
    picture = (StoredPicture(path=str(tmp_path / "p.png"), size=Size(448, 448)),)
    rows = [
        Row("made_up", "train", f"q{i}", "Where is it?", "upper right", "open", picture, expert_id=f"made_up/q{i}")
        for i in range(2)
    ]
    write_rows(tmp_path / "train.parquet", rows)
    return tmp_path / "train.parquet"


def build(data: Path, *words: object) -> tuple[int, str]:
    command = ["build", "--data", data, "--store", data.parent / "store", "--n", 2, *words]
    result = CliRunner().invoke(experts, [str(word) for word in command])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 40


def test_the_example_builds_trajectories(data: Path) -> None:
    status, output = build(data, "--oracle", PATH, "oracle.own.settings.top=2")
    assert status == 0, output
    store = TrajectoryStore(data.parent / "store")
    entry = store.entry("made_up/q1")
    assert entry is not None
    assert entry.record["oracle"] == "bright_patches"
    boxes = [step.box for made in entry.trajectories for step in made.steps]
    assert any(box.iou(Box(336, 0, 448, 112)) > 0.5 for box in boxes), "the white quarter was looked at"
    assert all(made.correct for made in entry.trajectories)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--oracle", "own"], "oracle.own: is required by name=own"),
        (["--oracle", "absent.py:Oracle"], "oracle.own.path=absent.py:Oracle: there is no file"),
        (["--oracle", f"{EXAMPLE}:Brigt"], "has no Brigt; it has"),
        (["--oracle", "medeyes_verl.expert.oracles.reading:json_in"], "settings given are none"),
        (["--oracle", PATH, "oracle.slake.annotations=a"], "there are sections for slake and own"),
        (["--oracle", "annotations", f"oracle.own.path={PATH}"], "oracle.own: name=annotations does not read it"),
        (["--oracle", PATH, "oracle.own.settings.depth=3"], "the settings given are depth"),
        (["--oracle", PATH, "oracle.own.settings=[1]"], "oracle.own.settings=[1]: use a mapping"),
    ],
)
def test_what_cannot_be_used_is_said_before_the_first_question(data: Path, words: list[str], said: str) -> None:
    status, output = build(data, *words)
    assert status == 1
    assert said in output
    assert not (data.parent / "store").exists()


def test_an_unknown_oracle_is_refused_with_the_known_ones(data: Path) -> None:
    status, output = build(data, "--oracle", "crystal")
    assert status == 2
    assert "'crystal' is none of annotations, slake" in output
    status, output = build(data, "oracle.name=crystal")
    assert status == 1
    assert "oracle.name='crystal': use one of annotations, slake" in output


def test_a_file_says_the_same(data: Path, tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(f"oracle: {{own: {{path: '{PATH}', settings: {{top: 1}}}}}}")
    status, output = build(data, "--config", tmp_path / "b.yaml")
    assert status == 0, output
    assert TrajectoryStore(data.parent / "store").get("made_up/q0")


def test_a_mistake_of_the_oracle_costs_a_question_that_is_counted_and_named(data: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        EXAMPLE.read_text()
        + "\n\nclass Wrong(BrightPatches):\n"
        + "    async def locate(self, question, findings):\n"
        + "        return None if question.expert_id.endswith('q0') else {}['key']\n"
    )
    status, output = build(data, "--oracle", f"{own}:Wrong")
    assert status == 1
    assert "made_up/q0: oracle bright_patches returned None, which is no Located" in output
    assert "made_up/q1: oracle bright_patches: KeyError: 'key'" in output
    assert "2 questions failed" in output


def test_a_live_oracle_is_made_from_the_settings_of_a_run(data: Path, tmp_path: Path) -> None:
    from medeyes_verl.config.settings import LiveSettings
    from medeyes_verl.gaze.settings import EpisodeSettings
    from medeyes_verl.plugin.off_policy import _maker

    live = LiveSettings(oracle=PATH, oracle_settings={"top": 1})
    question = next(read_questions(data))
    sampled = asyncio.run(_maker(live, EpisodeSettings(), 1)(question))
    assert sampled.record["oracle"] == "bright_patches"
    with pytest.raises(ImportPathError, match=r"live\.oracle=absent\.py:Oracle"):
        _maker(LiveSettings(oracle="absent.py:Oracle"), EpisodeSettings(), 1)


def test_an_oracle_travels_to_another_process() -> None:
    import pickle

    make: Any = pickle.loads(pickle.dumps(oracle_maker(PATH, "--oracle", {"top": 1})))
    assert isinstance(made := make(), OwnOracle)
    assert made.name == "bright_patches"
    assert issubclass(OracleError, Exception)
