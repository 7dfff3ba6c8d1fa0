"""The first step's warning: share, rule, reason and a remedy that fits the rule."""

import pytest

from medeyes_verl.algorithm.settings import DualStreamSettings
from medeyes_verl.config.settings import RolloutSettings
from medeyes_verl.plugin.expert_check import first_step_warning

ROLLOUT = RolloutSettings(n_expert=2, experts="some/experts")


def step(share: float) -> dict[str, float]:
    return {"medeyes/expert/rows": 8.0, "medeyes/expert/zero_advantage_groups": share}


@pytest.mark.parametrize(
    ("baseline", "remedy"),
    [
        ("stream", "off_policy_baseline=on_policy"),
        ("pooled", "recommended"),
        ("on_policy", "n_expert=0"),
        ("none", "experts"),
    ],
)
def test_mostly_zero_advantages_are_said_with_a_remedy(baseline: str, remedy: str) -> None:
    said = first_step_warning(step(0.75), ROLLOUT, DualStreamSettings(off_policy_baseline=baseline))  # type: ignore[arg-type]
    assert said is not None
    assert "75% of the expert groups have advantage 0" in said
    assert f"off_policy_baseline={baseline}" in said
    assert remedy in said.split("Remedy: ")[1]


def test_a_stream_that_teaches_is_left_alone() -> None:
    assert first_step_warning(step(0.5), ROLLOUT, DualStreamSettings()) is None
    assert first_step_warning({}, RolloutSettings(), DualStreamSettings()) is None


def test_no_expert_row_at_all_is_said_with_its_reason() -> None:
    said = first_step_warning({"medeyes/expert/missing_rows": 8.0}, ROLLOUT, DualStreamSettings())
    assert said is not None
    assert "n_expert=2, but the step has no expert row" in said
    assert "8 sessions found no trajectory in some/experts" in said
    nowhere = first_step_warning({"medeyes/expert/missing_rows": 0.0}, ROLLOUT, DualStreamSettings())
    assert nowhere is not None
    assert "no row of the step carries extra_info.expert_id" in nowhere
    replay = RolloutSettings(n_expert=2, off_policy_source="replay")
    assert first_step_warning({}, replay, DualStreamSettings()) is None, "nothing can be replayed yet"


def test_a_gate_is_named_where_it_keeps_the_experts_silent() -> None:
    hpt = DualStreamSettings(off_policy_baseline="unit", off_policy_gate="unsolved")
    said = first_step_warning({**step(0.75), "medeyes/on_policy/unsolved_prompts": 0.25}, ROLLOUT, hpt)
    assert said is not None
    assert "the rollouts solve these prompts" in said
    assert "gate_solve_rate" in said.split("Remedy: ")[1]
