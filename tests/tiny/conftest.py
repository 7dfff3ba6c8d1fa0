"""A handful of phantom questions with experts, and a fresh tiny policy for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from medeyes_verl.data.phantom import PhantomSettings, make_phantom_row
from medeyes_verl.data.row import Split, write_rows
from medeyes_verl.expert.scripted import script_preset, write_scripted_experts
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.tiny.examples import ExpertRows, corpus, read_expert_rows
from medeyes_verl.tiny.model import TINY_EPISODE, TinyShape, build_model, build_processor
from medeyes_verl.tiny.tokenizer import train_tokenizer


@dataclass(frozen=True)
class Benchmark:
    train: Path
    val: Path
    experts: Path


@dataclass(frozen=True)
class FreshPolicy:
    model: Any
    processor: Any
    tokens: PolicyTokens


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    folder = tmp_path_factory.mktemp("phantom")
    settings = PhantomSettings(seed=21)
    sizes: dict[Split, int] = {"train": 8, "val": 3}
    for split, size in sizes.items():
        rows = [make_phantom_row(settings, split, index, folder) for index in range(size)]
        write_rows(folder / f"{split}.parquet", rows)
    write_scripted_experts(folder / "train.parquet", folder / "experts", n=4, seed=1, settings=script_preset("tiny"))
    return Benchmark(folder / "train.parquet", folder / "val.parquet", folder / "experts")


@pytest.fixture(scope="session")
def expert_rows(benchmark: Benchmark) -> ExpertRows:
    return read_expert_rows(benchmark.train, benchmark.experts, TINY_EPISODE)


@pytest.fixture
def fresh(expert_rows: ExpertRows) -> FreshPolicy:
    tokenizer = train_tokenizer(corpus(expert_rows.rows, TINY_EPISODE))
    model = build_model(tokenizer, TinyShape(), seed=0)
    processor = build_processor(tokenizer)
    return FreshPolicy(model, processor, PolicyTokens(processor))
