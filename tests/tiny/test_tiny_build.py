"""The folder that comes out: loads by itself, is reused, and replaces nothing that is not its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from medeyes_verl.tiny.build import STAMP, PolicySettings, TrialSettings, make_policy
from medeyes_verl.tiny.model import TinyShape
from medeyes_verl.tiny.warmup import WarmupSettings

QUICK = PolicySettings(
    warmup=WarmupSettings(minutes=10, max_steps=1, batch_size=2),
    shape=TinyShape(layers=2, feed_forward=64, vision_layers=1, vision_feed_forward=64),
    trial=TrialSettings(questions=1, rollouts=2),
)


def test_the_policy_is_a_plain_folder_that_is_found_again(benchmark: Any, tmp_path: Path) -> None:
    output = tmp_path / "policy"
    stages: list[str] = []
    report = make_policy(benchmark.train, benchmark.experts, output, QUICK, benchmark.val, on_stage=stages.append)
    assert not report.reused
    assert report.steps == 1
    assert report.score is not None
    assert stages == ["reading data and experts", "warm-up", "playing"]
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]

    processor = AutoProcessor.from_pretrained(output)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(output)
    assert type(processor).__name__ == "Qwen2_5_VLProcessor"
    assert model.config.text_config.vocab_size == len(processor.tokenizer) == report.vocabulary
    assert sum(weight.numel() for weight in model.parameters()) == report.parameters
    text = processor.apply_chat_template([{"role": "user", "content": "?"}], add_generation_prompt=True, tokenize=False)
    assert text == "<|im_start|>user\n?<|im_end|>\n<|im_start|>assistant\n"

    made = (output / STAMP).stat().st_mtime_ns
    again = make_policy(benchmark.train, benchmark.experts, output, QUICK, benchmark.val)
    assert again == replace(report, reused=True)
    assert (output / STAMP).stat().st_mtime_ns == made

    other = replace(QUICK, warmup=replace(QUICK.warmup, seed=1))
    assert not make_policy(benchmark.train, benchmark.experts, output, other).reused
    assert json.loads((output / STAMP).read_text())["made_from"]["settings"]["warmup"]["seed"] == 1


def test_a_folder_that_was_not_made_here_is_left_alone(benchmark: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not made here"):
        make_policy(benchmark.train, benchmark.experts, tmp_path, QUICK)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_damaged_stamp_is_named(benchmark: Any, tmp_path: Path) -> None:
    (tmp_path / STAMP).write_text("{")
    with pytest.raises(ValueError, match=STAMP):
        make_policy(benchmark.train, benchmark.experts, tmp_path, QUICK)
