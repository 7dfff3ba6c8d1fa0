"""Metrics of each stream, against numbers worked out by hand."""

from typing import Any

import pytest
import torch
from tensordict import NonTensorStack, TensorDict

from medeyes_verl.gaze.geometry import Box
from medeyes_verl.gaze.grammar import Fault
from medeyes_verl.gaze.trace import Mode
from medeyes_verl.plugin.metrics import divided, expert_probability, own_rows, stream_metrics
from tests.traces import trace_of


def nested(*rows: list[float]) -> torch.Tensor:
    return torch.nested.as_nested_tensor([torch.tensor(row) for row in rows], layout=torch.jagged)


def trace(boxes: int, modes: list[Mode], faults: list[str]) -> dict[str, Any]:
    gazes = [Box(0, 0, 10, 10)] * boxes
    return trace_of(*gazes, modes=modes, faults=tuple(Fault(fault) for fault in faults), answer="x").as_dict()


def extra(stream: str, r_acc: float, missing: bool = False, **facts: Any) -> dict[str, Any]:
    return {
        "stream": stream,
        "source": "grn_cvs" if stream == "expert" else "policy",
        "expert_missing": missing,
        "trace": trace(**facts),
        "reward_extra_info": {"id": "q1", "r_acc": r_acc, "gazes": float(facts["boxes"])},
    }


@pytest.fixture
def rows() -> TensorDict:
    return TensorDict(
        {
            "advantages": nested([1.0, 1.0, 0.0], [-1.0, -1.0], [0.0, 0.0], [9.0]),
            "response_mask": nested([1, 1, 0], [1, 1], [1, 1], [0]),
            "rm_scores": nested([0, 0, 1.0], [0, 0.2], [0, 0.9], [0.0]),
            "extra_fields": NonTensorStack(
                extra("on_policy", 1.0, boxes=1, modes=["drill"], faults=[]),
                extra("on_policy", 0.0, boxes=3, modes=["scan", "drill", "drill"], faults=["empty_box"]),
                extra("expert", 1.0, boxes=2, modes=["scan", "drill"], faults=[]),
                extra("on_policy", 1.0, missing=True, boxes=0, modes=[], faults=[]),
            ),
        },
        batch_size=4,
    )


def test_each_stream_by_hand(rows: TensorDict) -> None:
    streams = ["on_policy", "on_policy", "expert", "on_policy"]
    metrics = stream_metrics(rows, ["p", "p", "p", "q"], streams, real=[True, True, True, False])
    own = {name.removeprefix("medeyes/on_policy/"): value for name, value in metrics.items() if "on_policy" in name}
    assert own["rows"] == 2  # the padding row is nobody's
    assert own["reward"] == pytest.approx(0.6)
    assert own["r_acc"] == 0.5
    assert own["advantage"] == 0.0
    assert own["advantage_size"] == 1.0
    assert own["zero_advantage_groups"] == own["silent_groups"] == 0.0
    assert own["format_valid"] == 0.5
    assert own["gazes"] == 2.0
    assert (own["written_tokens"], own["response_length"]) == (2.0, 2.5)
    assert (own["scan_share"], own["drill_share"]) == (0.25, 0.75)
    assert metrics["medeyes/expert/zero_advantage_groups"] == metrics["medeyes/expert/silent_groups"] == 1.0
    assert metrics["medeyes/expert/replayed_share"] == 0.0
    assert metrics["medeyes/expert/reward"] == pytest.approx(0.9)
    assert metrics["medeyes/expert/missing_rows"] == 0.0


def test_rows_of_other_loops_and_rewards_count_with_what_they_say(rows: TensorDict) -> None:
    fields = list(rows["extra_fields"])
    fields[0] = {"turn_scores": [], "reward_extra_info": {"judge": 0.25, "kind": "open"}}
    fields[1] = {}
    rows["extra_fields"] = NonTensorStack(*fields)
    metrics = stream_metrics(rows, ["p", "p", "p", "q"], ["on_policy", "on_policy", "expert", "on_policy"], [True] * 4)
    own = {name.removeprefix("medeyes/on_policy/"): value for name, value in metrics.items() if "on_policy" in name}
    assert (own["rows"], own["judge"], own["gazes"], own["turns"]) == (3, 0.25, 0, 1)
    assert own["reward"] == pytest.approx(0.4)
    assert "kind" not in own


def test_names_do_not_change_how_verl_reduces_them(rows: TensorDict) -> None:
    streams = ["on_policy", "on_policy", "expert", "on_policy"]
    metrics = stream_metrics(rows, ["p", "p", "p", "q"], streams, real=[True] * 4)
    assert not [name for name in metrics if any(word in name for word in ("max", "min", "sum", "total"))]


def test_probabilities_are_compared_on_the_policys_own_rows_only() -> None:
    rows = TensorDict(
        {
            "old_log_probs": nested([-1.0, -2.0], [-3.0]),
            "rollout_log_probs": nested([-1.0, -2.0], [0.0]),
            "response_mask": nested([1, 1], [1]),
            "responses": nested([5, 6], [7]),
            "entropy": nested([0.5, 1.5], [7.0]),
        },
        batch_size=2,
    )
    expert_B = torch.tensor([False, True])
    assert own_rows(rows, expert_B)["training/rollout_probs_diff_max"] == 0.0
    assert own_rows(rows, expert_B)["actor/entropy"] == 1.0
    assert own_rows(rows, ~expert_B)["training/rollout_probs_diff_max"] > 0.9
    assert expert_probability(rows, expert_B)["medeyes/expert/probability_before"] == pytest.approx(
        torch.tensor(-3.0).exp().item()
    )


def test_quotients_are_taken_after_averaging() -> None:
    metrics = {
        "actor/medeyes/expert/clip_fraction:numerator": 3.0,
        "actor/medeyes/expert/clip_fraction:denominator": 6.0,
        "actor/medeyes/on_policy/clip_fraction:numerator": 0.0,
        "actor/medeyes/on_policy/clip_fraction:denominator": 0.0,
        "actor/pg_loss": 1.0,
    }
    divided(metrics)
    assert metrics == {"medeyes/expert/clip_fraction": 0.5, "actor/pg_loss": 1.0}
