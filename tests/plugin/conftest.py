"""Fixtures of the plugin's tests: a policy folder with random weights, a small phantom table and its experts."""

from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Prepared:
    """Folders as a recipe wants them."""

    data: Path
    model: Path


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Four phantom rows, a validation row, scripted experts, and an untrained tiny policy."""
    from medeyes_verl.data.phantom import PhantomSettings, make_phantom_row
    from medeyes_verl.data.row import write_rows
    from medeyes_verl.expert.scripted import script_preset, write_scripted_experts
    from medeyes_verl.tiny.examples import corpus, read_expert_rows
    from medeyes_verl.tiny.model import TINY_EPISODE, TinyShape, build_model, build_processor, save_policy
    from medeyes_verl.tiny.tokenizer import train_tokenizer

    root = tmp_path_factory.mktemp("prepared")
    data, model = root / "data", root / "model"
    for split, rows in (("train", 4), ("val", 1)):
        write_rows(
            data / f"{split}.parquet", (make_phantom_row(PhantomSettings(), split, i, data) for i in range(rows))
        )
    write_scripted_experts(data / "train.parquet", data / "experts", n=4, settings=script_preset("tiny"))
    experts = read_expert_rows(data / "train.parquet", data / "experts", TINY_EPISODE)
    tokenizer = train_tokenizer(corpus(experts.rows, TINY_EPISODE))
    save_policy(build_model(tokenizer, TinyShape(), seed=0), build_processor(tokenizer), model)
    return Prepared(data, model)
