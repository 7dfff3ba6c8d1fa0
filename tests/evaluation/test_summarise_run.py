"""What quickstart's last lines say of a run's change of accuracy, and of policy and vLLM."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medeyes_verl.evaluation.training_summary import engine_agreement, verdict

KIND = "sampled validation (temperature 1)"
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("before", "after", "meaning"),
    [
        (0.45, 0.75, "it rose by more than chance gives"),
        (0.75, 0.45, "it FELL by more than chance gives"),
        (0.45, 0.50, "they overlap, so this is no change that chance cannot give"),
        (0.0, 0.0, "they overlap, so this is no change that chance cannot give"),
    ],
)
def test_the_verdict_follows_the_intervals(before: float, after: float, meaning: str) -> None:
    sentence, line = verdict(before, after, 300, KIND)
    assert sentence.startswith("Sampled validation (temperature 1) on 300 held-out questions")
    assert meaning in sentence
    assert line.startswith(f"validation accuracy: {before:.3f} [")


def test_the_line_has_both_intervals() -> None:
    assert verdict(0.0, 1.0, 20, KIND)[1] == "validation accuracy: 0.000 [0.000, 0.161] -> 1.000 [0.839, 1.000]"


def test_an_accuracy_of_other_questions_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.455 is no share of 10 questions"):
        verdict(0.455, 0.5, 10, KIND)


def test_steps_in_which_policy_and_vllm_differ_are_told_and_not_hidden() -> None:
    assert engine_agreement([1e-6, 3e-6]).endswith("differ by at most 3.0e-06")
    assert engine_agreement([1e-6, 3e-3, 2e-6]).endswith(
        "3.0e-03 (1 of 3 steps above 1e-04, at most 2.0e-06 in the others)"
    )


@pytest.mark.parametrize(
    ("sample", "kind"), [(True, "sampled validation (temperature 1)"), (False, "greedy validation")]
)
def test_the_script_ends_with_the_line_and_names_the_validation(tmp_path: Path, sample: bool, kind: str) -> None:
    logs = tmp_path / "logs"
    hydra = logs / "hydra" / ".hydra"
    hydra.mkdir(parents=True)
    pq.write_table(pa.table({"question": ["?"] * 40}), tmp_path / "val.parquet")
    sampling = f"do_sample: {str(sample).lower()}, temperature: {1.0 if sample else 0}"
    (hydra / "config.yaml").write_text(
        f"data: {{val_files: {tmp_path}/val.parquet, val_max_samples: -1}}\n"
        f"actor_rollout_ref: {{rollout: {{val_kwargs: {{{sampling}}}}}}}\n"
    )
    names = ("val-aux/p/reward/mean@1", "val-aux/p/r_grammar/mean@1", "val-aux/p/gazes/mean@1")
    metrics = [
        {"step": step, "data": {**dict.fromkeys(names, 0.5), "val-core/p/acc/mean@1": accuracy}}
        for step, accuracy in ((0, 0.25), (2, 0.75))
    ]
    metrics[1]["data"] |= {"timing_s/step": 1.0, "training/rollout_probs_diff_max": 1e-6}
    (logs / "metrics-1.jsonl").write_text("".join(json.dumps(each) + "\n" for each in metrics))
    done = subprocess.run(
        [sys.executable, "scripts/summarise_run.py", tmp_path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *_, sentence, line = done.stdout.splitlines()
    assert sentence.startswith(f"{kind[0].upper()}{kind[1:]} on 40 held-out questions")
    assert line == "validation accuracy: 0.250 [0.142, 0.402] -> 0.750 [0.598, 0.858]"
