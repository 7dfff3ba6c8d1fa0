"""The reward manager reads the loop's trace, and a row it cannot score costs nothing but that row."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from verl import DataProto
from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager

from medeyes_verl.gaze.geometry import Box
from medeyes_verl.plugin.reward_manager import MedEyesRewardManager
from tests.traces import trace_of

TRACE = trace_of(Box(0, 0, 100, 100), Box(200, 200, 300, 300), answer="Yes.").as_dict()


class Letters:
    """A tokenizer of one letter a token."""

    def decode(self, ids: Any, skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return "".join(chr(i) for i in ids)


def of_row(**row: Any) -> DataProto:
    fields = {
        "tool_extra_fields": {"trace": TRACE},
        "reward_model": {"style": "rule", "ground_truth": "yes"},
        "extra_info": {"id": "q1", "question_type": "closed", "options": []},
        "data_source": "mine",
        "__num_turns__": 6,
        **row,
    }
    return DataProto(
        batch=TensorDict(
            {"responses": torch.tensor([[104, 105, 0]]), "attention_mask": torch.tensor([[1, 1, 1, 0]])}, batch_size=1
        ),
        non_tensor_batch={name: np.array([value], dtype=object) for name, value in fields.items()},
    )


def scored(
    config: dict[str, Any] | None = None, function: Any = None, router: Any = None, **row: Any
) -> dict[str, Any]:
    reward = {"medeyes": config or {}, "custom_reward_function": {"path": "own.py" if function else None}}
    manager = MedEyesRewardManager(
        OmegaConf.create({"reward": reward}),
        Letters(),
        compute_score=function or (lambda **_: pytest.fail("veRL's default scorer is not ours")),
        reward_router_address=router,
        reward_model_tokenizer=None,
    )
    result: dict[str, Any] = asyncio.run(manager.run_single(of_row(**row)))
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


ALONE = {"accuracy_weight": 0.0, "grammar_weight": 0.0, "diversity_weight": 0.0}


def test_a_function_gets_what_verls_own_manager_gives_it() -> None:
    seen: dict[str, Any] = {}

    def function(**arguments: Any) -> float:
        seen.update(arguments)
        return 0.5

    result = scored({"custom_weight": 2.0}, function)
    assert (seen["data_source"], seen["solution_str"], seen["ground_truth"]) == ("mine", "hi", "yes")
    assert (seen["extra_info"]["id"], seen["extra_info"]["num_turns"]) == ("q1", 6)
    assert seen["extra_info"]["trace"] == TRACE, "the loop's extra_fields are in extra_info"
    assert set(seen) == {"data_source", "solution_str", "ground_truth", "extra_info"}
    assert result["reward_score"] == pytest.approx(scored()["reward_score"] + 2.0 * 0.5)
    assert result["reward_extra_info"]["r_custom"] == 0.5
    assert result["reward_extra_info"]["acc"] == 1.0, "the core metric stays ours where it can be computed"
    scored(None, function, router="host:1")
    assert seen["reward_router_address"] == "host:1"


def test_the_arguments_are_those_of_verls_naive_manager() -> None:
    calls: list[dict[str, Any]] = []

    def function(**arguments: Any) -> float:
        calls.append(arguments)
        return 0.0

    async def stock() -> None:
        manager = NaiveRewardManager(OmegaConf.create({}), Letters(), function, "host:1", None)
        manager.loop = asyncio.get_running_loop()
        await manager.run_single(of_row())

    scored(None, function, router="host:1")
    asyncio.run(stock())
    ours, theirs = calls
    completed, given = ours.pop("extra_info"), theirs.pop("extra_info")
    assert ours == theirs
    assert completed.items() >= given.items()


async def awaited(**_: Any) -> dict[str, Any]:
    return {"score": np.float32(0.25), "acc": 0.0, "pred": "ring", "id": "hers"}


class AwaitedObject:
    async def __call__(self, **arguments: Any) -> dict[str, Any]:
        return await awaited(**arguments)


@pytest.mark.parametrize(
    "function", [awaited, AwaitedObject(), lambda **_: {"score": torch.tensor(0.25), "acc": 0, "pred": "ring", "id": 1}]
)
def test_async_functions_and_mappings_are_taken(function: Any) -> None:
    info = scored(None, function)["reward_extra_info"]
    assert info["r_custom"] == 0.25
    assert (info["acc"], info["custom_acc"], info["pred"], info["id"]) == (1.0, 0, "ring", "q1")
    assert info["reward_error"] == 0


def test_a_function_alone_needs_no_trace_and_its_score_is_the_core_metric() -> None:
    result = scored(ALONE, lambda **_: 0.75, tool_extra_fields={}, reward_model={"ground_truth": ["a", "b"]})
    info = result["reward_extra_info"]
    assert result["reward_score"] == info["acc"] == info["r_custom"] == 0.75
    assert "r_grammar" not in info


def fails(**_: Any) -> float:
    raise KeyError("judge")


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (fails, "KeyError: 'judge'"),
        (lambda **_: float("nan"), "nan, which is no finite number"),
        (lambda **_: {"score": float("inf")}, "inf, which is no finite number"),
        (lambda **_: "0.5", "'0.5', which is no finite number"),
        (lambda **_: None, "None, which is no finite number"),
        (lambda **_: {"reward": 1.0}, r"without 'score': ['reward']"),
    ],
)
@pytest.mark.parametrize("weights", [None, ALONE])
def test_an_error_of_the_function_costs_the_row_its_reward_and_is_said(function: Any, text: str, weights: Any) -> None:
    result = scored(weights, function)
    info = result["reward_extra_info"]
    assert result["reward_score"] == 0.0
    assert info["reward_error"] == 1.0
    assert text in info["reward_error_text"]
    assert info["r_custom"] == 0.0


def test_a_row_of_a_foreign_table_is_scored() -> None:
    """As veRL's own dataset hands it over: no question type, no options, and of the prompt its parts."""
    text = {"type": "text", "text": "Is it?"}
    prompt = [{"role": "user", "content": [{"type": "image", "image": "a.png"}, text]}]
    info = scored(extra_info={"index": 4, "split": "val", "answer": "yes"}, raw_prompt=prompt)["reward_extra_info"]
    assert (info["r_acc"], info["reward_error"], info["id"]) == (1.0, 0.0, "4")
    assert scored(extra_info=None, raw_prompt=prompt)["reward_extra_info"]["r_acc"] == 1.0


def test_a_row_without_a_trace_says_what_to_do() -> None:
    text = scored(tool_extra_fields={})["reward_extra_info"]["reward_error_text"]
    assert "reward.reward_manager.name=naive" in text
    assert "reward.custom_reward_function.path" in text


EXAMPLE = Path(__file__).parents[2] / "examples" / "reward_part.py"


def parts_of(**paths: str) -> dict[str, Any]:
    return {"parts": [{"name": name, "weight": 0.5, "path": path} for name, path in paths.items()]}


def test_parts_by_import_path_are_added_and_logged_under_their_names(tmp_path: Path) -> None:
    result = scored(parts_of(r_brevity=f"{EXAMPLE}:brevity", r_hedging=f"{EXAMPLE}:hedging"))
    info = result["reward_extra_info"]
    assert (info["r_hedging"], info["reward_error"]) == (0.0, 0.0)
    assert 0 < info["r_brevity"] <= 1
    assert info["r_brevity.words"] == 1.0, "the trace says `look` before each gaze"
    assert result["reward_score"] == pytest.approx(scored()["reward_score"] + 0.5 * info["r_brevity"])


def test_a_part_gets_the_row_and_its_error_costs_the_row_its_reward(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "def facts(trace, row):\n"
        "    assert (row.ground_truth, row.question_type, row.data_source) == ('yes', 'closed', 'mine'), row\n"
        "    return float(row.extra_info['id'] == 'q1')\n"
        "async def fails(trace, row):\n    raise KeyError('judge')\n"
    )
    assert scored(parts_of(r_own=f"{own}:facts"))["reward_extra_info"]["r_own"] == 1.0
    result = scored(parts_of(r_own=f"{own}:fails"))
    info = result["reward_extra_info"]
    assert (result["reward_score"], info["r_own"], info["reward_error"]) == (0.0, 0.0, 1.0)
    assert "the reward part r_own" in info["reward_error_text"]
    assert "KeyError: 'judge'" in info["reward_error_text"]


def test_a_part_alone_is_the_reward(tmp_path: Path) -> None:
    result = scored({**ALONE, **parts_of(r_brevity=f"{EXAMPLE}:brevity")})
    assert result["reward_score"] == pytest.approx(0.5 * result["reward_extra_info"]["r_brevity"])
