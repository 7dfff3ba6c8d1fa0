"""The first step's look at the expert stream: one loud warning where it teaches nothing.

Experts that all score alike have advantage 0 under the paper's rule. The run then works, costs the expert rows' time
and is GRPO on fewer rollouts; nothing else would say so before the curves do.
"""

from collections.abc import Mapping

from medeyes_verl.algorithm.settings import DualStreamSettings, OffPolicyBaseline
from medeyes_verl.config.settings import ROLLOUT, RolloutSettings

ZERO_ADVANTAGE_LIMIT = 0.5
"""Above this share of expert groups without any advantage the warning is printed."""
RECOMMENDED = "'+medeyes=[RECIPE,recommended]' or algorithm.medeyes.off_policy_baseline=on_policy"
WHY: dict[OffPolicyBaseline, tuple[str, str]] = {
    "stream": ("the experts of a prompt all have the same reward, so none is above their mean", RECOMMENDED),
    "pooled": ("experts and rollouts of a prompt all have the same reward", RECOMMENDED),
    "on_policy": (
        "no expert of these prompts has more reward than the policy's rollouts",
        f"harder questions, better experts, or {ROLLOUT}.n_expert=0",
    ),
    "none": ("the experts' reward is 0", "look at the experts: medeyes-verl experts --help"),
    "unit": ("every expert's advantage is 1, so only a gate can have taken it away", "see off_policy_gate"),
}
GATE = (
    "the rollouts solve these prompts, and experts teach where they do not",
    "harder questions, a larger algorithm.medeyes.gate_solve_rate, or off_policy_gate=always",
)
"""Under each rule: how an expert group comes to have no advantage, and what changes that."""


def first_step_warning(
    metrics: Mapping[str, float], rollout: RolloutSettings, objective: DualStreamSettings
) -> str | None:
    """Say what is wrong with the expert stream of a step, or None where it teaches.

    Args:
        metrics: of the step, as `medeyes_verl.plugin.metrics.stream_metrics` names them.
    """
    if "medeyes/expert/rows" not in metrics:
        # with replay alone there is nothing to replay yet
        return _no_rows(metrics, rollout) if rollout.n_expert and rollout.off_policy_source != "replay" else None
    share = metrics["medeyes/expert/zero_advantage_groups"]
    if share <= ZERO_ADVANTAGE_LIMIT:
        return None
    baseline = objective.off_policy_baseline
    gated = objective.off_policy_gate != "always" and metrics.get("medeyes/on_policy/unsolved_prompts", 1.0) < 1.0
    reason, remedy = GATE if gated else WHY[baseline]
    return _framed(
        f"{share:.0%} of the expert groups have advantage 0: they teach nothing (limit {ZERO_ADVANTAGE_LIMIT:.0%}).",
        f"Rule: algorithm.medeyes.off_policy_baseline={baseline}.",
        f"Reason: {reason}.",
        f"Remedy: {remedy}.",
        "Metric: medeyes/expert/zero_advantage_groups.",
    )


def _no_rows(metrics: Mapping[str, float], rollout: RolloutSettings) -> str:
    missing = int(metrics.get("medeyes/expert/missing_rows", 0))
    return _framed(
        f"{ROLLOUT}.n_expert={rollout.n_expert}, but the step has no expert row: the run is plain GRPO.",
        f"Reason: {missing} sessions found no trajectory in {rollout.demonstrations.column or rollout.experts}."
        if missing
        else "Reason: no row of the step carries extra_info.expert_id, or the agent loop replays no experts.",
        f"Remedy: build experts for the training table (medeyes-verl experts --help), or set {ROLLOUT}.n_expert=0.",
    )


def _framed(*lines: str) -> str:
    rule = "=" * 100
    return "\n".join(["", rule, "medeyes_verl WARNING: the expert stream teaches nothing", *lines, rule])
