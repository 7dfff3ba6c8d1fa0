"""What a user may choose about the dual stream. The defaults are the rule of the MedEyes paper (dual-stream
GRPO); the other values are cures for its two traps, which docs/method.md explains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

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

    shaping_gamma: float = 0.1
    """γ of `luffy`; smaller favours rarer tokens."""

    off_policy_clip: bool = True
    """Whether expert tokens are clipped as on-policy tokens are (the paper). LUFFY does not."""

    on_policy_weight: float = 1.0
    """Scales the loss of on-policy rows; 0 trains on experts alone."""

    off_policy_weight: float = 1.0
    """Scales the loss of expert rows."""

    def __post_init__(self) -> None:
        _require_one_of("off_policy_baseline", self.off_policy_baseline, get_args(OffPolicyBaseline))
        _require_one_of("off_policy_shaping", self.off_policy_shaping, get_args(OffPolicyShaping))
        _require_one_of("off_policy_clip", self.off_policy_clip, (True, False))
        _require_number("shaping_gamma", self.shaping_gamma)
        _require_number("on_policy_weight", self.on_policy_weight)
        _require_number("off_policy_weight", self.off_policy_weight)
        if self.shaping_gamma == 0:
            raise ValueError("shaping_gamma is 0, and π/(π+0) has no gradient; use a positive number")

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> DualStreamSettings:
        """From a configuration node; absent keys keep their defaults, unknown keys are a ValueError."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(str(key) for key in mapping if key not in known)
        if unknown:
            raise ValueError(f"unknown dual-stream settings {unknown}; the settings are {known}")
        return cls(**{str(key): value for key, value in mapping.items()})


def _require_one_of(key: str, value: object, allowed: tuple[object, ...]) -> None:
    if not any(type(value) is type(choice) and value == choice for choice in allowed):
        raise ValueError(f"{key} is {value!r}; use one of {list(allowed)}")


def _require_number(key: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise ValueError(f"{key} is {value!r}; use a finite number that is not negative")
