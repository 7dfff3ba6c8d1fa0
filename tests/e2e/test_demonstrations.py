"""Demonstrations in a text run with nothing of ours but the objective: examples/demonstrations_in_a_text_run.sh.

A policy without any training is asked for the code of each of eight animals, two words of twelve. It cannot guess them:
rollouts that are all wrong give GRPO nothing. One demonstration a prompt teaches it all eight.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 900
ANIMALS = ("owl", "fox", "cat", "dog", "hen", "bee", "ant", "cow")
WORDS = ("red", "blue", "green", "pink", "gold", "grey", "north", "south", "east", "west", "up", "down")
STEPS = 20


def prepare(folder: Path, seed: int) -> None:
    """The table of eight questions, for training and validation alike, and an untrained tiny language model."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from medeyes_verl.tiny.tokenizer import train_tokenizer

    codes = random.Random(seed)
    rows = []
    for index, animal in enumerate(ANIMALS):
        code = f"{codes.choice(WORDS)} {codes.choice(WORDS)}"
        rows.append(
            {
                "data_source": "codes",
                "prompt": [{"role": "user", "content": f"code of the {animal}?"}],
                "reward_model": {"style": "rule", "ground_truth": code},
                "extra_info": {"index": index},
                "demonstrations": [{"role": "assistant", "content": code}],
            }
        )
    for split in ("train", "val"):
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")
    tokenizer = train_tokenizer([f"code of the {animal}?" for animal in ANIMALS] + [" ".join(WORDS)] * 4)
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")


def trained(folder: Path, seed: int, *overrides: str) -> dict[int, dict[str, float]]:
    """Run the example on the CPU; returns the metrics by step."""
    metrics, log = folder / "metrics.jsonl", folder / "log.txt"
    metrics.unlink(missing_ok=True)
    environment = {
        **os.environ,
        **{"DATA": str(folder), "MODEL": str(folder / "model"), "RECIPE": "[cpu_tiny,demonstrations]"},
        "REWARD": str(Path(__file__).parent / "code_reward.py"),
        "VERL_FILE_LOGGER_PATH": str(metrics),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = [
        *("bash", str(ROOT / "examples" / "demonstrations_in_a_text_run.sh")),
        *("data.train_batch_size=8", "actor_rollout_ref.actor.ppo_mini_batch_size=8", "data.max_response_length=8"),
        *("actor_rollout_ref.rollout.n=4", "actor_rollout_ref.actor.optim.lr=1e-3", f"data.seed={seed}"),
        # greedy: the policy knows a code, or it does not
        *("actor_rollout_ref.rollout.val_kwargs.do_sample=false", "actor_rollout_ref.rollout.val_kwargs.temperature=0"),
        *(f"trainer.total_training_steps={STEPS}", f"trainer.test_freq={STEPS}", "trainer.save_freq=-1"),
        *("trainer.logger=[console,file]", f"hydra.run.dir={folder / 'hydra'}", f"medeyes.output={folder / 'out'}"),
        *("trainer.total_epochs=1000", "medeyes.data=unused", "medeyes.model=unused"),
        *overrides,
    ]
    with log.open("w") as output:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=output, stderr=output, timeout=LIMIT_SECONDS, check=False
        )
    assert done.returncode == 0, log.read_text()[-6000:]
    steps: dict[int, dict[str, float]] = {}
    for line in metrics.read_text().splitlines():
        steps.setdefault(json.loads(line)["step"], {}).update(json.loads(line)["data"])
    return steps


def known(steps: dict[int, dict[str, float]], step: int) -> float:
    """Share of the eight codes that the policy says at a validation."""
    return steps[step]["val-core/codes/acc/mean@1"]


def test_demonstrations_teach_what_rollouts_do_not_find(tmp_path: Path) -> None:
    prepare(tmp_path, seed=0)
    steps = trained(tmp_path, 0)
    for step in range(1, STEPS + 1):
        assert steps[step]["medeyes/expert/rows"] == 8, "one demonstration a prompt"
        assert steps[step]["medeyes/on_policy/rows"] == 8 * 3
        assert steps[step]["medeyes/expert/reward"] == 1
    assert known(steps, 0) == 0
    assert known(steps, STEPS) >= 0.75
