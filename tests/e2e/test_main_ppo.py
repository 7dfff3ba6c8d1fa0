"""Stock main_ppo with our recipe on the CPU: real Ray, TransferQueue, FSDP2 and vLLM, both streams, then resumed."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 900
"""A run takes about two minutes on two idle cores; a broken weight update would wait for ever."""


@dataclass(frozen=True)
class Run:
    """What a finished run left."""

    steps: dict[int, dict[str, float]]
    log: str


def main_ppo(folder: Path, data: Path, model: Path, name: str, *overrides: str, recipe: str = "cpu_tiny") -> Run:
    """Run main_ppo to its end. Output goes to a file: a pipe would outlive it in Ray's processes."""
    metrics, log = folder / f"{name}.jsonl", folder / f"{name}.log"
    environment = {**os.environ, "VERL_FILE_LOGGER_PATH": str(metrics)}
    command = [
        *(sys.executable, "-m", "verl.trainer.main_ppo", f"+medeyes=[{recipe}]"),
        *(f"medeyes.data={data}", f"medeyes.model={model}", f"medeyes.output={folder}"),
        f"hydra.run.dir={folder / 'hydra'}",
        *overrides,
    ]
    with log.open("w") as output:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=output, stderr=output, timeout=LIMIT_SECONDS, check=False
        )
    assert done.returncode == 0, log.read_text()[-4000:]
    entries = [json.loads(line) for line in metrics.read_text().splitlines()]
    steps: dict[int, dict[str, float]] = {}
    for entry in entries:
        steps.setdefault(entry["step"], {}).update(entry["data"])
    return Run(steps, log.read_text())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """Two steps with a checkpoint, then the same command asked for a third; all made by the project's own commands."""
    folder = tmp_path_factory.mktemp("main_ppo")
    data, model = folder / "data", folder / "model"
    own = [sys.executable, "-m", "medeyes_verl.cli", "experts", "script"]
    for command in (
        [sys.executable, "data_preprocess/phantom.py", "--output", data, "--train", "64", "--val", "8", "--test", "0"],
        [*own, "--data", data / "train.parquet", "--store", data / "experts"],
        # long enough to be right now and then
        [
            *(sys.executable, "-m", "medeyes_verl.cli", "tiny-policy", "--data", data / "train.parquet"),
            *("--experts", data / "experts", "--output", model, "--minutes", "10", "--steps", "150"),
        ],
    ):
        subprocess.run([str(word) for word in command], cwd=ROOT, check=True, timeout=LIMIT_SECONDS)

    overrides = (
        # the same four prompts in each step of a run, so that what the policy got right can be replayed to it
        *("data.train_batch_size=4", "actor_rollout_ref.actor.ppo_mini_batch_size=4", "data.train_max_samples=4"),
        "actor_rollout_ref.rollout.custom.medeyes.off_policy_source=mixed",
        # experts that all score alike are silent under the paper's rule; here they must move the weights
        "algorithm.medeyes.off_policy_baseline=on_policy",
        "actor_rollout_ref.actor.optim.lr=1e-4",
        # greedy, so that the same weights give the same score
        *("actor_rollout_ref.rollout.val_kwargs.do_sample=false", "actor_rollout_ref.rollout.val_kwargs.temperature=0"),
        *("trainer.test_freq=2", "trainer.save_freq=2"),
    )
    first = main_ppo(folder, data, model, "first", "trainer.total_training_steps=2", *overrides)
    resumed = main_ppo(folder, data, model, "resumed", "trainer.total_training_steps=3", *overrides)
    return first, resumed


def test_each_step_has_both_streams(runs: tuple[Run, Run]) -> None:
    first, _ = runs
    for step in (1, 2):
        assert first.steps[step]["medeyes/on_policy/rows"] == 4 * 6
        assert first.steps[step]["medeyes/expert/rows"] == 4 * 2
        assert first.steps[step]["medeyes/expert/missing_rows"] == 0
        assert first.steps[step]["medeyes/expert/r_acc"] == 1
        assert first.steps[step]["medeyes/expert/format_valid"] == 1


def test_experts_teach_a_policy_that_fails(runs: tuple[Run, Run]) -> None:
    first, _ = runs
    assert first.steps[1]["medeyes/on_policy/reward"] < first.steps[1]["medeyes/expert/reward"]
    assert first.steps[1]["medeyes/expert/advantage"] > 0
    assert first.steps[1]["medeyes/expert/gradient_weight"] > 0
    assert first.steps[1]["medeyes/expert/silent_groups"] < 1


def test_the_policys_successes_are_replayed_and_kept_with_the_checkpoint(runs: tuple[Run, Run]) -> None:
    first, resumed = runs
    kept = [first.steps[1], first.steps[2], resumed.steps[3]]
    remembered = [metrics["medeyes/replay/trajectories"] for metrics in kept]
    assert remembered[0] > 0
    assert remembered[2] >= remembered[1] >= remembered[0], "a resumed run has what the checkpoint kept"
    assert first.steps[1]["medeyes/expert/replayed_share"] == 0, "nothing has been remembered yet"
    assert first.steps[2]["medeyes/expert/replayed_share"] > 0


def test_vllm_has_the_weights_the_trainer_has(runs: tuple[Run, Run]) -> None:
    """After an update at a large learning rate, engine and trainer still give each token the same probability."""
    first, resumed = runs
    assert first.steps[1]["actor/grad_norm"] > 0
    for metrics in (first.steps[1], first.steps[2], resumed.steps[3]):
        assert metrics["training/rollout_probs_diff_max"] < 1e-4


def test_a_resumed_run_goes_on_where_it_stopped(runs: tuple[Run, Run]) -> None:
    first, resumed = runs
    assert sorted(first.steps) == [0, 1, 2]
    assert sorted(resumed.steps) == [2, 3], "it validates at the checkpoint's step, then trains the next"
    scores = {name: value for name, value in first.steps[2].items() if name.startswith("val-")}
    assert scores
    assert {name: resumed.steps[2][name] for name in scores} == pytest.approx(scores)


def test_every_metric_the_readme_names_is_logged(runs: tuple[Run, Run]) -> None:
    first, _ = runs
    of_each_stream = (
        *("reward", "r_acc", "r_grammar", "r_div", "advantage", "silent_groups", "clip_fraction", "gradient_weight"),
        *("gazes", "scan_share", "drill_share", "format_valid", "response_length"),
    )
    wanted = {f"medeyes/{stream}/{name}" for stream in ("on_policy", "expert") for name in of_each_stream}
    wanted |= {"medeyes/expert/probability_before", "medeyes/expert/missing_rows", "training/rollout_probs_diff_max"}
    logged: set[str] = set()
    for metrics in first.steps.values():
        logged |= metrics.keys()
    assert wanted <= logged, f"not logged: {sorted(wanted - logged)}"


@pytest.mark.parametrize(
    ("overrides", "platform", "said"),
    [
        ((), {"VERL_PLATFORM": "cpu"}, "Missing mandatory value: medeyes.data"),
        (("medeyes.data=d", "medeyes.output=o"), {}, "Environment variable 'VERL_PLATFORM' not found"),
        (
            ("medeyes.data=d", "distillation.enabled=true"),
            {"VERL_PLATFORM": "cpu"},
            "2. data.train_files=d/train.parquet",
        ),
    ],
)
def test_a_run_that_lacks_something_says_so_at_once(
    tmp_path: Path, overrides: tuple[str, ...], platform: dict[str, str], said: str
) -> None:
    inherited = {name: value for name, value in os.environ.items() if name != "VERL_PLATFORM"}
    done = subprocess.run(
        [sys.executable, "-m", "verl.trainer.main_ppo", "+medeyes=cpu_tiny", "medeyes.model=m", *overrides],
        env={**inherited, **platform},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert said in output
    assert "medeyes_verl refuses to start this run" in output
    assert "Traceback" not in output
    assert "ray init" not in output
