"""What a user may choose about the dual stream. The defaults are the rule of the MedEyes paper (dual-stream
GRPO); the other values are cures for its two traps, which docs/method.md explains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from medeyes_verl.settings.reader import Between, check

OffPolicyBaseline = Literal["stream", "on_policy", "pooled", "none"]
OffPolicyShaping = Literal["none", "luffy", "log"]


@dataclass(frozen=True, slots=True)
class DualStreamSettings:
    """Raises ValueError, naming the key and the allowed values, when a value is impossible."""

    off_policy_baseline: OffPolicyBaseline = "stream"
    """What an expert's reward is compared with. `stream`: the other experts of its prompt (the paper);
    `on_policy`: the policy's own rollouts of that prompt, and it counts only where it is better; `pooled`: both
    together (then on-policy advantages change too); `none`: nothing, the advantage is the reward."""

    off_policy_shaping: OffPolicyShaping = "none"
    """What takes the place of the importance ratio π/1 of an expert token. `none`: π (the paper);
    `luffy`: π/(π+γ), which gives rare tokens a larger gradient (LUFFY, arXiv 2504.14945); `log`: ln π, which gives
    all tokens the same, as supervised fine-tuning does. With baseline `none` it is fine-tuning weighted by reward."""

    shaping_gamma: Annotated[float, Between(0, above=True)] = 0.1
    """γ of `luffy`; smaller favours rarer tokens, and at 0 π/(π+0) has no gradient."""

    off_policy_clip: bool = True
    """Whether expert tokens are clipped as on-policy tokens are (the paper). LUFFY does not."""

    on_policy_weight: Annotated[float, Between(0)] = 1.0
    """Scales the loss of on-policy rows; 0 trains on experts alone."""

    off_policy_weight: Annotated[float, Between(0)] = 1.0
    """Scales the loss of expert rows."""

    def __post_init__(self) -> None:
        check(self)
