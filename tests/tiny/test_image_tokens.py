"""The tiny policy cannot write a picture's placeholder, whatever it was given to read."""

from pathlib import Path

import pytest
import torch

from medeyes_verl.data.phantom import PhantomSettings, make_phantom_row
from medeyes_verl.data.row import write_rows
from medeyes_verl.expert.scripted import script_preset, write_scripted_experts
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.tiny.examples import corpus, read_expert_rows
from medeyes_verl.tiny.image_tokens import MARGIN, common_direction
from medeyes_verl.tiny.model import TINY_EPISODE, TinyShape, build_model, build_processor
from medeyes_verl.tiny.tokenizer import IMAGE, VIDEO, train_tokenizer
from medeyes_verl.tiny.warmup import WarmupSettings, warm_up


def test_the_common_direction_by_hand() -> None:
    hidden = torch.tensor([[1.0, 2.0], [1.0, -2.0]])  # only the first axis is common
    assert common_direction(hidden) == pytest.approx(torch.tensor([1.0, 0.0]), abs=0.01)


def test_a_warmed_policy_gives_placeholders_no_probability(tmp_path: Path) -> None:
    write_rows(
        tmp_path / "train.parquet", (make_phantom_row(PhantomSettings(), "train", i, tmp_path) for i in range(16))
    )
    write_scripted_experts(tmp_path / "train.parquet", tmp_path / "experts", n=2, settings=script_preset("tiny"))
    rows = read_expert_rows(tmp_path / "train.parquet", tmp_path / "experts", TINY_EPISODE).rows
    tokenizer = train_tokenizer(corpus(rows, TINY_EPISODE))
    model = build_model(tokenizer, TinyShape(), seed=0)
    tokens = PolicyTokens(build_processor(tokenizer))
    settings = WarmupSettings(minutes=10, max_steps=3, batch_size=4)
    warm_up(model, tokens, rows, TINY_EPISODE, settings)
    ids = torch.tensor([tokenizer.encode("<|im_start|>assistant\n<reasoning>scan</reasoning>\n<action>")])
    with torch.no_grad():
        probabilities = model(input_ids=ids).logits[0].softmax(dim=-1)
    banned = [tokenizer.convert_tokens_to_ids(token) for token in (IMAGE, VIDEO)]
    assert probabilities[:, banned].max() < 1e-8
    assert MARGIN > 20
