"""What a user may choose about the dual stream: ``algorithm.medeyes`` of a recipe.

One frame holds every rule that mixes rollouts with demonstrations. The loss of a token of trajectory i is

    −λ_s(step) · gate(prompt) · h(π) · min(f(ρ) A_i, clip(f(ρ)) A_i),    ρ = π / b

A: what the reward is compared with (baseline); f: the slope of a token; h: the focus on some tokens; λ_s: the weight of
the stream at a training step; b: the probability the behaviour policy gave the token. The defaults are the rule of
the MedEyes paper; docs/rules.md has a row a rule, docs/method.md the equations.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Literal

from medeyes_verl.settings.reader import Between, SettingError, check, shown

OffPolicyBaseline = Literal["stream", "on_policy", "pooled", "none", "unit"]
OffPolicyShaping = Literal["none", "luffy", "log"]
OffPolicyFocus = Literal["none", "uncertain", "rare"]
ExpertLogProbs = Literal["certain", "stored", "policy", "mixture"]
Ratio = Literal["token", "sequence", "sequence_mean"]
OffPolicyGate = Literal["always", "unsolved"]
GatedRollouts = Literal["keep", "drop"]
RowMean = Literal["joint", "by_stream"]
Warmup = Literal["linear", "cosine"]
Weight = Annotated[float, Between(0)]
Steps = Annotated[int, Between(0)]

OURS = "dual_stream"
"""`on_policy_loss` that is no name of veRL's."""


@dataclass(frozen=True, slots=True)
class DualStreamSettings:
    """Raises SettingError, naming the key and the allowed values, when a value is impossible or would be ignored."""

    off_policy_baseline: OffPolicyBaseline = "stream"
    """What an expert's reward is compared with. `stream`: the other experts of its prompt (the paper);
    `on_policy`: the policy's own rollouts of that prompt, and it counts only where it is better; `pooled`: both
    together (then on-policy advantages change too); `none`: nothing, the advantage is the reward; `unit`: nothing, the
    advantage is 1 whatever the reward, as in supervised fine-tuning."""

    off_policy_shaping: OffPolicyShaping = "none"
    """What takes the place of the importance ratio ρ of an expert token. `none`: ρ (the paper);
    `luffy`: ρ/(ρ+γ), which gives rare tokens a larger gradient (LUFFY, arXiv 2504.14945); `log`: ln π, which gives
    all tokens the same, as supervised fine-tuning does. With baseline `none` it is fine-tuning weighted by reward."""

    shaping_gamma: Annotated[float, Between(0, above=True)] = 0.1
    """γ of `luffy`; smaller favours rarer tokens, and at 0 π/(π+0) has no gradient."""

    off_policy_clip: bool = True
    """Whether expert tokens are clipped as on-policy tokens are (the paper). LUFFY does not."""

    on_policy_weight: Weight = 1.0
    """Scales the loss of on-policy rows; 0 trains on experts alone."""

    off_policy_weight: Weight = 1.0
    """Scales the loss of expert rows; where `off_policy_decay_steps` is set, its value at the peak."""

    off_policy_focus: OffPolicyFocus = "none"
    """A weight of each expert token, without gradient. `none`: 1 (the paper); `uncertain`: π(1−π), tokens the policy
    is undecided about (CHORD-φ, arXiv 2508.11408); `rare`: (1−π)^`focus_power` (RL-PLUS, arXiv 2508.00222)."""

    focus_power: Weight = 0.5
    """The exponent of `rare`."""

    expert_log_probs: ExpertLogProbs = "certain"
    """b, the probability with which an expert token was chosen. `certain`: 1 (the paper); `stored`: as the trajectory's
    log-probabilities say; `policy`: π_old, as if the policy had chosen it (Prefix-RFT, arXiv 2507.01679); `mixture`:
    the mean of π_old and ½(π_old + 1), for an unknown expert (RL-PLUS)."""

    ratio: Ratio = "token"
    """Whose ratio ρ is, in both streams. `token`: each token's (the paper's J); `sequence`: the trajectory's, the
    product over its tokens (the paper's text); `sequence_mean`: its geometric mean (GSPO, arXiv 2507.18071)."""

    least_reward_range: Weight = 0.0
    """Rewards of a group that span less than this count as equal: σ is 0 and the group's advantages are 0."""

    off_policy_gate: OffPolicyGate = "always"
    """On which prompts experts teach. `always` (the paper); `unsolved`: where at most `gate_solve_rate` of the policy's
    rollouts are solved (HPT, arXiv 2509.04419)."""

    gate_solve_rate: Annotated[float, Between(0, 1)] = 0.0
    """The largest share of solved rollouts at which `unsolved` lets experts teach, from 0 to below 1."""

    solved_reward: float = 0.7
    """The reward from which on a rollout counts as solved; 0.7 is the accuracy's weight in the paper's reward."""

    gated_rollouts: GatedRollouts = "keep"
    """What the policy's rollouts do on prompts where `unsolved` lets experts teach: `keep` their advantages, or `drop`
    them to 0 (HPT)."""

    row_mean: RowMean = "joint"
    """What the loss is averaged over. `joint`: the rows of both streams together (the paper); `by_stream`: each stream
    over its own rows, so that the weights are shares of the loss whatever the number of experts (CHORD)."""

    off_policy_warmup: Warmup = "linear"
    """How the expert weight rises from 0 in the first `off_policy_warmup_steps`: `linear` or `cosine` (SPEAR)."""

    off_policy_warmup_steps: Steps = 0
    """Training steps of the rise; 0: none."""

    off_policy_decay_steps: Steps = 0
    """Training steps after the rise in which the weight falls, along a cosine, to `off_policy_weight_end`; 0: none."""

    off_policy_weight_end: Weight | None = None
    """The weight of expert rows after the fall."""

    complementary_weight: bool = False
    """Whether the policy's rows get `on_policy_weight` times 1 minus the weight of the experts (CHORD's 1−μ)."""

    on_policy_loss: str = OURS
    """The loss of the policy's own rows: `dual_stream` (the paper: min and clip), or the name of any policy loss that
    veRL has registered, such as vanilla, gspo, cispo, sapo."""

    def __post_init__(self) -> None:
        check(self)
        if self.gate_solve_rate == 1:
            raise _error(self, "gate_solve_rate", "no prompt exceeds 1; use a share below 1, or off_policy_gate=always")
        for key, needs, wanted in _WITHOUT_EFFECT:
            if getattr(self, key) != _DEFAULTS[key] and getattr(self, needs) != wanted:
                reason = f"has no effect with {needs}={getattr(self, needs)}; set {needs}={wanted}, or leave it out"
                raise _error(self, key, reason)
        self._require_a_combination()

    def _require_a_combination(self) -> None:
        """Refuse settings that are possible alone and contradict each other."""
        if self.off_policy_shaping == "log" and self.expert_log_probs != "certain":
            reason = "off_policy_shaping=log has the gradient of ln π whatever b is; set it to none or luffy, or"
            raise _error(self, "expert_log_probs", f"{reason} expert_log_probs=certain")
        if self.ratio != "token":
            if self.off_policy_focus != "none" or self.off_policy_shaping == "log":
                reason = "all tokens of a trajectory share one weight, and off_policy_focus or off_policy_shaping=log"
                raise _error(self, "ratio", f"{reason} weigh tokens one by one; set ratio=token, or both to none")
            if self.on_policy_loss != OURS:
                reason = f"on_policy_loss={self.on_policy_loss} has a ratio of its own; set ratio=token"
                raise _error(self, "ratio", f"{reason} or on_policy_loss={OURS}")
        if (self.off_policy_decay_steps > 0) != (self.off_policy_weight_end is not None):
            reason = "needs both off_policy_decay_steps and off_policy_weight_end, its length and its end, or neither"
            raise _error(self, "off_policy_decay_steps", f"the fall {reason}")
        largest = max(self.off_policy_weight, self.off_policy_weight_end or 0.0)
        if self.complementary_weight and largest > 1:
            reason = f"the policy's rows get 1 minus the experts' weight, which reaches {largest}; use at most 1"
            raise _error(self, "complementary_weight", reason)


_WITHOUT_EFFECT: tuple[tuple[str, str, object], ...] = (
    ("focus_power", "off_policy_focus", "rare"),
    ("gate_solve_rate", "off_policy_gate", "unsolved"),
    ("solved_reward", "off_policy_gate", "unsolved"),
    ("gated_rollouts", "off_policy_gate", "unsolved"),
)
"""A key, and the key and value without which it is never read."""
_DEFAULTS = {field.name: field.default for field in fields(DualStreamSettings)}


def _error(settings: DualStreamSettings, key: str, reason: str) -> SettingError:
    return SettingError(key, shown(getattr(settings, key)), reason)
