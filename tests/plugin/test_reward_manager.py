"""The reward manager reads the loop's record, and a row it cannot score costs nothing but that row."""

import asyncio
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from verl import DataProto

from medeyes_verl.plugin.reward_manager import MedEyesRewardManager

RECORD = {
    "boxes": [[0, 0, 100, 100], [200, 200, 300, 300]],
    "images": [1, 1],
    "modes": ["drill", "drill"],
    "answer": "Yes.",
    "faults": [],
    "turns": 3,
    "finish": "answered",
}


def scored(config: dict[str, Any] | None = None, **row: Any) -> dict[str, Any]:
    manager = MedEyesRewardManager(OmegaConf.create({"reward": {"medeyes": config or {}}}), tokenizer=None)
    fields = {
        "tool_extra_fields": {"record": RECORD},
        "reward_model": {"style": "rule", "ground_truth": "yes"},
        "extra_info": {"id": "q1", "question_type": "closed", "options": []},
        **row,
    }
    data = DataProto(
        batch=TensorDict({"responses": torch.zeros(1, 2)}, batch_size=1),
        non_tensor_batch={name: np.array([value], dtype=object) for name, value in fields.items()},
    )
    result: dict[str, Any] = asyncio.run(manager.run_single(data))
    return result


def test_a_right_answer_by_hand() -> None:
    result = scored()
    r_div = 0.5 * 2 / 3 + 0.5 * 1.0  # two regions of three, one pair, apart
    assert result["reward_score"] == pytest.approx(0.7 + 0.2 + 0.1 * r_div)
    info = result["reward_extra_info"]
    assert (info["acc"], info["r_grammar"], info["gazes"], info["reward_error"]) == (1.0, 1.0, 2.0, 0.0)
    assert info["r_div"] == pytest.approx(r_div)


def test_weights_come_from_the_configuration() -> None:
    result = scored({"accuracy_weight": 1.0, "grammar_weight": 0.0, "diversity_weight": 0.0})
    assert result["reward_score"] == 1.0


@pytest.mark.parametrize(
    "row",
    [
        {"extra_info": {"id": "q1", "question_type": "riddle", "options": []}},
        {"tool_extra_fields": {}},
        {"reward_model": {"style": "rule"}},
    ],
)
def test_a_row_that_cannot_be_scored_is_zero_counted_and_named(
    row: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    result = scored(**row)
    assert result["reward_score"] == 0.0
    assert result["reward_extra_info"]["reward_error"] == 1.0
    assert result["reward_extra_info"].keys() == scored()["reward_extra_info"].keys()
    assert "q1" in caplog.text


def test_an_unknown_weight_is_named() -> None:
    with pytest.raises(ValueError, match="acc_weight"):
        scored({"acc_weight": 1.0})
