"""The `experts` command line, as a user meets it."""

from __future__ import annotations

import asyncio
import pickle
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from medeyes_verl.cli.experts import experts
from medeyes_verl.cli.experts_build import Plan, ShardSampler
from medeyes_verl.data.image_store import StoredPicture
from medeyes_verl.data.row import Region, Row, write_rows
from medeyes_verl.expert.oracles.annotations import AnnotationOracle
from medeyes_verl.expert.oracles.choice import share_of_budget
from medeyes_verl.expert.oracles.client import HttpSettings
from medeyes_verl.expert.question import read_questions
from medeyes_verl.expert.sampler import Sampled, sampler_preset
from medeyes_verl.expert.store import TrajectoryStore
from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.report.annotated_image import gaze_colour

RUN = CliRunner()


def training_file(folder: Path, count: int = 3) -> Path:
    rows = (
        Row(
            data_source="phantom",
            split="train",
            id=f"q{number}",
            question="What is the lesion?",
            answer="ring",
            question_type="open",
            pictures=(StoredPicture(path="/p.png", size=Size(448, 448)),),
            expert_id=f"phantom/q{number}",
            regions=(Region(Box(200, 100, 264, 164), "ring", target=True), Region(Box(20, 20, 80, 80), "decoy")),
        )
        for number in range(count)
    )
    write_rows(folder / "train.parquet", rows)
    return folder / "train.parquet"


def test_script_writes_and_resumes(tmp_path: Path) -> None:
    data, store = training_file(tmp_path), tmp_path / "store"
    first = RUN.invoke(experts, ["script", "--data", str(data), "--store", str(store), "--n", "2"])
    assert first.exit_code == 0, first.output
    assert len(TrajectoryStore(store).get("phantom/q1")) == 2
    second = RUN.invoke(experts, ["script", "--data", str(data), "--store", str(store), "--n", "2"])
    assert second.exit_code == 0
    assert "3 questions were there already" in " ".join(second.output.split())


def test_script_says_what_is_wrong(tmp_path: Path) -> None:
    pq.write_table(pq.read_table(training_file(tmp_path)).select(["prompt"]), tmp_path / "other.parquet")
    result = RUN.invoke(experts, ["script", "--data", str(tmp_path / "other.parquet"), "--store", str(tmp_path / "s")])
    assert result.exit_code == 1
    assert "error:" in result.output
    assert "lacks the columns" in " ".join(result.output.split())


def test_validate_counts_and_fails_on_damage(tmp_path: Path) -> None:
    store = tmp_path / "store"
    RUN.invoke(experts, ["script", "--data", str(training_file(tmp_path)), "--store", str(store), "--n", "2"])
    sound = RUN.invoke(experts, ["validate", str(store)])
    assert sound.exit_code == 0, sound.output
    assert "6 trajectories for 3 questions" in " ".join(sound.output.split())
    file = store / "trajectories.sqlite"
    file.write_bytes(file.read_bytes()[:-9])
    damaged = RUN.invoke(experts, ["validate", str(store)])
    assert damaged.exit_code == 1
    assert "damaged:" in damaged.output
    assert RUN.invoke(experts, ["validate", str(store), "--repair"]).exit_code == 0
    assert RUN.invoke(experts, ["validate", str(store)]).exit_code == 0
    assert RUN.invoke(experts, ["validate", str(tmp_path / "absent")]).exit_code == 1


def test_merge_joins(tmp_path: Path) -> None:
    store = tmp_path / "store"
    RUN.invoke(experts, ["script", "--data", str(training_file(tmp_path)), "--store", str(store), "--n", "2"])
    result = RUN.invoke(experts, ["merge", str(tmp_path / "all"), str(store), str(store)])
    assert result.exit_code == 0, result.output
    assert "3 questions added, 3 were there already" in " ".join(result.output.split())


def phantom_file(folder: Path, count: int = 3) -> Path:
    """A training file whose pictures exist."""
    rows = []
    for number in range(count):
        picture = folder / f"{number}.png"
        Image.effect_noise((448, 448), 20 + number).save(picture)
        rows.append(
            Row(
                data_source="phantom",
                split="train",
                id=f"q{number}",
                question="What is the lesion?",
                answer="ring",
                question_type="open",
                pictures=(StoredPicture(path=str(picture), size=Size(448, 448)),),
                expert_id=f"phantom/q{number}",
                regions=(Region(Box(200, 100, 264, 164), "ring", target=True), Region(Box(20, 20, 80, 80), "decoy")),
            )
        )
    write_rows(folder / "train.parquet", rows)
    return folder / "train.parquet"


def invoke(*words: object) -> tuple[int, str]:
    result = RUN.invoke(experts, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def test_a_low_temperature_looks_at_the_surer_region_first(tmp_path: Path) -> None:
    """The target is the larger region, so the oracle is a little surer of it."""
    data = phantom_file(tmp_path, 12)
    target = Box(200, 100, 264, 164)
    first_at_target = {}
    for temperature in ("0.001", "1"):
        store = tmp_path / f"store-{temperature}"
        words = ("build", "--preset", "tiny", "--data", data, "--store", store, f"sampler.temperature={temperature}")
        assert invoke(*words)[0] == 0
        made = [each for number in range(12) for each in TrajectoryStore(store).get(f"phantom/q{number}")]
        gazes = [each.steps[0].box for each in made]
        first_at_target[temperature] = [box.x1 <= target.x2 and target.x1 <= box.x2 for box in gazes]
    assert all(first_at_target["0.001"])
    assert not all(first_at_target["1"])


@pytest.mark.parametrize("preset", ["paper", "tiny"])
def test_build_and_inspect(tmp_path: Path, preset: str) -> None:
    data, store, png = phantom_file(tmp_path), tmp_path / "store", tmp_path / "drawn" / "one.png"
    code, said = invoke("build", "--data", data, "--store", store, "--preset", preset, "--n", 3)
    assert code == 0, said
    assert "9 trajectories for 3 questions" in said
    assert invoke("build", "--data", data, "--store", store)[1].endswith("3 questions were there already")
    code, said = invoke(
        "inspect", store, "--data", data, "--id", "phantom/q1", "--number", 2, "--png", png, "--preset", preset
    )
    assert code == 0, said
    assert "phantom/q1, one of 3" in said
    assert '"mode": "drill"' in said
    assert "stopped: confident" in said
    with Image.open(png) as drawn:
        assert drawn.width > 500
        # The crop's frame, in the first gaze's colour.
        assert gaze_colour(1) in {colour for _, colour in drawn.getcolors(1 << 24)}


def test_build_with_a_users_own_boxes(tmp_path: Path) -> None:
    data = phantom_file(tmp_path)
    (tmp_path / "boxes.csv").write_text(
        "image,x1,y1,x2,y2,label,target\n0.png,200,100,264,164,mass,1\n1.png,9,9,1,1,x,0\n"
    )
    common = ("build", "--data", data, "--store", tmp_path / "store", "--oracle", "csv")
    code, said = invoke(*common)
    assert (code, "oracle.csv: is required by name=csv: a mapping with the keys annotations, images" in said) == (
        1,
        True,
    )
    boxes = (f"oracle.csv.annotations={tmp_path / 'boxes.csv'}", f"oracle.csv.images={tmp_path}")
    code, said = invoke(*common, *boxes)
    assert code == 0, said
    assert "line 3: box" in said
    store = TrajectoryStore(tmp_path / "store")
    assert {each.correct for each in store.get("phantom/q0")} == {True}
    # Nothing is drawn on the other pictures: one look at the whole, and no finding is claimed.
    assert len(store.get("phantom/q1")) == 1
    assert "mass" not in str(store.get("phantom/q1"))


def test_build_names_pictures_that_are_gone(tmp_path: Path) -> None:
    data = phantom_file(tmp_path)
    (tmp_path / "1.png").unlink()
    code, said = invoke("build", "--data", data, "--store", tmp_path / "store")
    assert code == 1
    assert "failed: phantom/q1: its picture is gone" in said
    assert "6 questions" not in said
    assert len(TrajectoryStore(tmp_path / "store")) == 2


def test_ablations_and_the_policys_episode_are_taken_from_the_file(tmp_path: Path) -> None:
    data = phantom_file(tmp_path)
    file = tmp_path / "build.yaml"
    file.write_text(
        "sampler: {navigator: {modes: random, max_gazes: 2}, episode: {frame: relative_1000, max_gazes: 2}}"
    )
    code, said = invoke("build", "--data", data, "--store", tmp_path / "s", "--config", file)
    assert code == 0, said
    made = TrajectoryStore(tmp_path / "s").get("phantom/q0")
    assert {each.source for each in made} == {"random"}
    assert max(len(each.steps) for each in made) == 2
    file.write_text("sampler: {episode: {max_gaze: 2}}\n")
    code, said = invoke("build", "--data", data, "--store", tmp_path / "t", "--config", file)
    assert code == 1
    assert "build.yaml: sampler.episode.max_gaze=2: there is no such key; did you mean max_gazes?" in said


def test_shards_sampled_by_an_actor_are_what_a_local_build_makes(tmp_path: Path) -> None:
    data = phantom_file(tmp_path)
    invoke("build", "--data", data, "--store", tmp_path / "s", "--preset", "tiny")
    episode = sampler_preset("tiny").episode
    plan = Plan(partial(AnnotationOracle, episode.view, episode.crop), sampler_preset("tiny"), 0, 4)
    sampler = ShardSampler(pickle.loads(pickle.dumps(plan)))
    outcomes = dict(asyncio.run(sampler(list(read_questions(data)))))
    store = TrajectoryStore(tmp_path / "s")
    for expert_id, outcome in outcomes.items():
        assert isinstance(outcome, Sampled)
        assert list(outcome.trajectories) == store.get(expert_id)


def test_a_budget_is_shared_between_processes() -> None:
    shared = share_of_budget(HttpSettings("", concurrency=32, max_requests=1001, max_tokens=None), 4)
    assert (shared.concurrency, shared.max_requests, shared.max_tokens) == (8, 250, None)


def test_a_longer_t_max_is_one_the_policy_has_too(tmp_path: Path) -> None:
    data = phantom_file(tmp_path, count=1)
    lines = [f"0.png,{x},{y},{x + 30},{y + 30},d,{int((x, y) == (10, 10))}" for x in (10, 150, 300) for y in (10, 200)]
    (tmp_path / "boxes.csv").write_text("\n".join(["image,x1,y1,x2,y2,label,target", *lines]))
    code, said = invoke(
        "build", "--data", data, "--store", tmp_path / "s", f"oracle.csv.annotations={tmp_path / 'boxes.csv'}",
        f"oracle.csv.images={tmp_path}", "--preset", "tiny", "sampler.navigator.max_gazes=6",
        "sampler.episode.max_gazes=6",
    )  # fmt: skip
    assert code == 0, said
    assert max(len(each.steps) for each in TrajectoryStore(tmp_path / "s").get("phantom/q0")) > 4


def test_a_configuration_file_says_all_and_options_go_over_it(tmp_path: Path) -> None:
    data = phantom_file(tmp_path)
    (tmp_path / "build.yaml").write_text(
        f"data: {data}\nstore: {tmp_path / 's'}\npreset: tiny\nsampler: {{n: 3, greedy: true}}\n"
    )
    code, said = invoke("build", "--config", tmp_path / "build.yaml", "--n", 2, "sampler.greedy=false")
    assert (code, "6 trajectories for 3 questions" in said) == (0, True), said
    invoke("build", "--data", data, "--store", tmp_path / "flags", "--preset", "tiny", "--n", 2)
    for number in range(3):
        made = [TrajectoryStore(tmp_path / name).get(f"phantom/q{number}") for name in ("s", "flags")]
        assert made[0] == made[1] != []


GIVEN = ("--data", "train.parquet", "--store", "s")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "data is required: give --data, or set the key in --config"),
        (GIVEN[:2], "store is required: give --store"),
        (
            (*GIVEN, "--max-gazes", 3),
            "set sampler.navigator.max_gazes or sampler.episode.max",
        ),
        ((*GIVEN, "--policy", "x.yaml"), "No such option: --policy; set sampler.episode"),
        ((*GIVEN, "--pictures", "d"), "set oracle.coco.images or oracle.csv.images"),
        ((*GIVEN, "--no-scan-gazes"), "set sampler.navigator.scan_gazes"),
        ((*GIVEN, "--zoom", 3), "No such option: --zoom"),
        ((*GIVEN, "seed=1", "--seed", 2), "seed is given twice"),
        ((*GIVEN, "--workers", 2), "workers=2: engine=local has one process"),
        ((*GIVEN, "--n", 0), "sampler.n=0: use a whole number from 1 upwards"),
        ((*GIVEN, "sampler.nucleus=2"), "sampler.nucleus=2: use a number from 0 to 1"),
        ((*GIVEN, "sampler.nucleus"), "sampler.nucleus: write KEY=VALUE"),
        ((*GIVEN, "max_gazes=3"), "did you mean sampler.navigator.max_gazes?"),
        ((*GIVEN, "sampler.navigator.max_gazes=9"), "use at most episode.max_gazes=4"),
        (
            (*GIVEN, "--oracle", "csv", "oracle.slake.annotations=d"),
            "oracle.slake: name=csv does not read it",
        ),
        (
            (*GIVEN, "oracle.slake.annotations=d", "oracle.medplib.http.url=u"),
            "there are sections for slake and medplib: keep one",
        ),
        (
            (*GIVEN, "oracle.endpoint.model=m", "oracle.endpoint.http.timeout=0"),
            "oracle.endpoint.http.timeout=0: use a number above 0",
        ),
        ((*GIVEN, "oracle.endpoint.model=m"), "oracle.endpoint.http: is required"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...], complaint: str
) -> None:
    monkeypatch.chdir(phantom_file(tmp_path, count=1).parent)
    code, said = invoke("build", *words)
    assert code != 0
    assert complaint in said
    assert not (tmp_path / "s").exists()
