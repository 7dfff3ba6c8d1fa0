"""Stock main_ppo with a user's own table, reward function and agent loops beside ours, on the CPU."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 900
CUSTOM = "reward.custom_reward_function"
Run = Callable[..., tuple[int, str, dict[int, dict[str, Any]]]]


def foreign_tables(folder: Path) -> None:
    """A training table with geometry3k's columns and a validation table with MedVLThinker's; images lie in both."""
    import datasets

    from medeyes_verl.data.phantom import PhantomSettings, make_phantom_row

    kept = [make_phantom_row(PhantomSettings(), "train", i, folder / "phantom").as_dict(i) for i in range(8)]
    images = [{"bytes": Path(row["images"][0]).read_bytes(), "path": None} for row in kept]
    train, val = [], []
    loops = ("medeyes_gaze", "demonstrated", "single_turn_agent", "demonstrated")
    for i, image in enumerate(images):
        common = {"ability": "math", "reward_model": {"style": "rule", "ground_truth": "B" if i % 2 else "ring"}}
        question = "<image>Which is it?" + ("\nA. disc\nB. ring" if i % 2 else "")
        prompt = [{"role": "user", "content": question}]
        train.append(
            {"data_source": "geometry3k", "prompt": prompt, "images": [image], **common, "agent_name": loops[i % 4]}
            | {"extra_info": {"split": "train", "index": i, "answer": "B", "question": question}}
        )
        val.append({"data_source": "medvlthinker", "prompt": prompt, "images": [image], **common})
    features = datasets.Sequence(datasets.Image())
    datasets.Dataset.from_list(train).cast_column("images", features).to_parquet(folder / "train.parquet")
    datasets.Dataset.from_list(val).to_parquet(folder / "val.parquet")  # plain structs of bytes, and no extra_info
    loop = [{"name": "demonstrated", "_target_": "own_code.DemonstratedLoop"}]
    (folder / "loops.yaml").write_text(json.dumps(loop), encoding="utf-8")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs main_ppo on those tables with an untrained policy; returns its exit status, output and metrics by step."""
    from medeyes_verl.tiny.model import TinyShape, build_model, build_processor, save_policy
    from medeyes_verl.tiny.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("own")
    foreign_tables(folder)
    tokenizer = train_tokenizer(["Which is it? A. disc B. ring", "the lesion is a ring"])
    save_policy(build_model(tokenizer, TinyShape(), seed=0), build_processor(tokenizer), folder / "model")

    def main_ppo(*overrides: str) -> tuple[int, str, dict[int, dict[str, Any]]]:
        metrics = folder / "metrics.jsonl"
        metrics.unlink(missing_ok=True)
        log = folder / "log.txt"
        command = [
            *(sys.executable, "-m", "verl.trainer.main_ppo", "+medeyes=cpu_tiny"),
            *(f"medeyes.data={folder}", f"medeyes.model={folder / 'model'}", f"medeyes.output={folder / 'out'}"),
            *("actor_rollout_ref.rollout.custom.medeyes.n_expert=0", "actor_rollout_ref.rollout.n=4"),
            *("data.train_batch_size=4", "actor_rollout_ref.actor.ppo_mini_batch_size=4", "data.shuffle=false"),
            f"actor_rollout_ref.rollout.agent.agent_loop_config_path={folder / 'loops.yaml'}",
            *(f"hydra.run.dir={folder / 'hydra'}", "trainer.save_freq=-1", "data.max_response_length=64"),
            *overrides,
        ]
        paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", str(ROOT))])
        environment = {**os.environ, "VERL_FILE_LOGGER_PATH": str(metrics), "PYTHONPATH": paths}
        with log.open("w") as output:
            done = subprocess.run(
                command, cwd=folder, env=environment, stdout=output, stderr=output, timeout=LIMIT_SECONDS, check=False
            )
        steps: dict[int, dict[str, Any]] = {}
        for line in metrics.read_text().splitlines() if metrics.exists() else ():
            steps.setdefault(json.loads(line)["step"], {}).update(json.loads(line)["data"])
        return done.returncode, log.read_text(), steps

    return main_ppo


@pytest.mark.e2e
def test_a_foreign_table_with_its_own_reward_and_loops_trains(run: Run) -> None:
    """All four of `foreign_tables`' loops in one step: ours, veRL's, and a user's that marks its expert rows itself."""
    status, log, steps = run(
        *(f"{CUSTOM}.path={Path(__file__).parent / 'own_code.py'}", f"{CUSTOM}.name=shorter_is_better"),
        f"+{CUSTOM}.reward_kwargs.weight=0.5",
        *(f"reward.medeyes.{part}_weight=0" for part in ("accuracy", "grammar", "diversity")),
        *("trainer.total_training_steps=2", "trainer.test_freq=2"),
    )
    assert status == 0, log[-6000:]
    for step in (1, 2):
        metrics = steps[step]
        assert metrics["medeyes/on_policy/rows"] == 4 * 4 - 4
        assert metrics["medeyes/expert/rows"] == 4, (
            "two rows of the batch take the demonstrated loop, two sessions each"
        )
        assert metrics["medeyes/expert/r_custom"] == metrics["medeyes/expert/reward"] == pytest.approx(0.5)
        assert metrics["medeyes/expert/demonstrated"] == 1
        assert 0 < metrics["medeyes/on_policy/r_custom"] < 0.5
        assert metrics["medeyes/on_policy/reward_error"] == 0
        assert metrics["medeyes/expert/zero_advantage_groups"] == 1, "both demonstrations of a prompt score alike"
        assert metrics["medeyes/on_policy/turns"] > 0, "the rows of medeyes_gaze have a record"
    assert log.count("100% of the expert groups have advantage 0") == 1, "said once, in the first step"
    assert "off_policy_baseline=on_policy" in log
    assert steps[2]["val-aux/medvlthinker/r_custom/mean@1"] > 0
    assert steps[2]["val-aux/medvlthinker/reward_error/mean@1"] == 0


@pytest.mark.e2e
def test_a_reward_that_fails_stops_the_run_with_its_text(run: Run) -> None:
    status, log, steps = run(
        *(f"{CUSTOM}.path={Path(__file__).parent / 'own_code.py'}", f"{CUSTOM}.name=always_fails"),
        *("trainer.total_training_steps=1", "trainer.val_before_train=true"),
    )
    assert status != 0
    assert not steps
    assert "validation at step 0: 8 of 8 rows could not be scored" in log
    assert "RuntimeError: no judge for medvlthinker" in log
