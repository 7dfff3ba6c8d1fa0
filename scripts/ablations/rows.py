"""The table of runs. Every row is stock main_ppo with the recipe `cpu_tiny`; it says what differs from the paper.

Accuracies of the paper are the means over VQA-RAD, SLAKE and PathVQA of its ablation table (docs/method.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

Share = Literal["none", "half", "all"]

CVS: Final = ("sampler.temperature=0.03",)
"""The oracle's confidences in the three blobs lie 0.04 to 0.05 apart: the larger is looked at first, mostly."""
STORES: Final[dict[str, tuple[str, ...]]] = {
    "grn_cvs": ("sampler.n=8", *CVS),
    "greedy": ("sampler.greedy=true",),
    "random": ("sampler.navigator.modes=random",),
    "scan_only": ("sampler.navigator.modes=scan_only", *CVS),
    "drill_only": ("sampler.navigator.modes=drill_only", *CVS),
    **{f"looks_{n}": (f"sampler.navigator.max_gazes={n}", f"sampler.episode.max_gazes={n}", *CVS) for n in (2, 4, 5)},
}
"""Trajectory stores by name: what `medeyes-verl experts build --preset tiny` is told besides."""

ROLLOUT = "actor_rollout_ref.rollout"
SETTINGS = f"{ROLLOUT}.custom.medeyes"
OPTIMISER = "actor_rollout_ref.actor.optim"
MICRO_BATCHES: Final = (
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu",
    f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu",
)
N_ON_POLICY: Final = 6
"""The policy's own rollouts of a prompt, in every row: equal steps are nearly equal generated tokens."""
SUPERVISED: Final = (
    "algorithm.medeyes.on_policy_weight=0",
    "algorithm.medeyes.off_policy_baseline=none",
    "algorithm.medeyes.off_policy_shaping=log",
)
ALL_SEEDS: Final = (0, 1, 2)
RETURNING: Final = 40
"""Questions of a row with replay: at 8 a step each comes back every fifth step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table: a recipe, run once for each seed."""

    name: str
    says: str
    """What it is, in the words of the table."""
    group: str
    """The question it belongs to."""
    overrides: tuple[str, ...] = ()
    experts: str = "grn_cvs"
    """A key of STORES."""
    n_expert: int = 4
    max_gazes: int = 3
    supervised: Share = "none"
    """Which steps are supervised fine-tuning on the experts: none, the first half, or all."""
    seeds: tuple[int, ...] = (0,)
    paper: float | None = None
    """The paper's accuracy, in percent."""

    def phases(self, steps: int) -> list[tuple[int, tuple[str, ...]]]:
        """Stretches of the run that differ in their settings: (last step, overrides)."""
        common = (
            f"{SETTINGS}.episode.max_gazes={self.max_gazes}",
            *self.overrides,
        )
        mixed = (*common, f"{SETTINGS}.n_expert={self.n_expert}", f"{ROLLOUT}.n={N_ON_POLICY + self.n_expert}")
        if self.supervised == "all":
            return [(steps, (*mixed, *SUPERVISED))]
        if self.supervised == "half":
            alone = (*common, f"{SETTINGS}.n_expert=0", f"{ROLLOUT}.n={N_ON_POLICY}")
            return [(steps // 2, (*mixed, *SUPERVISED)), (steps, alone)]
        return [(steps, mixed)]


def _objective(**settings: object) -> tuple[str, ...]:
    return tuple(f"algorithm.medeyes.off_policy_{name}={str(value).lower()}" for name, value in settings.items())


def _recommended(name: str, says: str, group: str, overrides: tuple[str, ...] = (), **changes: Any) -> Row:
    return Row(name=name, says=says, group=group, overrides=(*RECOMMENDED, *overrides), **changes)


def _weights(accuracy: float, grammar: float, diversity: float) -> tuple[str, ...]:
    parts = {"accuracy": accuracy, "grammar": grammar, "diversity": diversity}
    return tuple(f"reward.medeyes.{name}_weight={weight}" for name, weight in parts.items())


def _replay(order: str) -> tuple[str, ...]:
    """Of few questions, so that they return: what is replayed are past successes in the very question."""
    source = (f"{SETTINGS}.off_policy_source=replay", f"{SETTINGS}.replay.order={order}")
    return (*source, f"data.train_max_samples={RETURNING}")


ON_POLICY_LOG: Final = _objective(baseline="on_policy", shaping="log", clip=False)
RECOMMENDED: Final = (*ON_POLICY_LOG, f"{OPTIMISER}.lr_scheduler_type=cosine", f"{OPTIMISER}.min_lr_ratio=0.1")
"""The recipe `recommended`; docs/results.md says on what evidence."""

ROWS: Final = (
    Row(
        name="start",
        says="the policy before training",
        group="start",
        n_expert=0,
        overrides=("trainer.val_only=true", "trainer.val_before_train=true"),
    ),
    # whom an expert is compared with, and what it weighs; at a constant learning rate, all but the recommended
    Row(name="paper", says="the paper's rule", group="rule", seeds=ALL_SEEDS, paper=71.5),
    Row(name="grpo", says="without off-policy: GRPO only", group="rule", n_expert=0, seeds=ALL_SEEDS, paper=61.0),
    Row(
        name="recommended",
        says="on_policy baseline, log shaping, no clip, falling learning rate",
        group="rule",
        overrides=RECOMMENDED,
        seeds=ALL_SEEDS,
    ),
    Row(
        name="on_policy_log",
        says="recommended, the learning rate constant",
        group="rule",
        overrides=ON_POLICY_LOG,
        seeds=ALL_SEEDS,
    ),
    Row(
        name="luffy",
        says="pooled baseline, luffy shaping, no clip (LUFFY)",
        group="rule",
        overrides=_objective(baseline="pooled", shaping="luffy", clip=False),
    ),
    Row(name="sft", says="supervised fine-tuning only", group="rule", supervised="all"),
    Row(
        name="sft_then_grpo",
        says="supervised fine-tuning, then GRPO",
        group="rule",
        supervised="half",
        seeds=ALL_SEEDS,
    ),
    Row(
        name="on_policy",
        says="the paper's, on_policy baseline",
        group="rule",
        overrides=_objective(baseline="on_policy"),
    ),
    Row(name="pooled", says="the paper's, pooled baseline", group="rule", overrides=_objective(baseline="pooled")),
    Row(name="luffy_shaping", says="the paper's, luffy shaping", group="rule", overrides=_objective(shaping="luffy")),
    Row(name="no_clip", says="the paper's, no clip on experts", group="rule", overrides=_objective(clip=False)),
    Row(
        name="on_policy_luffy",
        says="on_policy baseline, luffy shaping, no clip",
        group="rule",
        overrides=_objective(baseline="on_policy", shaping="luffy", clip=False),
    ),
    # what the experts are; from here on under the recommended rule, since under the paper's experts hardly count
    _recommended("random", "without GRN: random boxes", "experts", experts="random", paper=62.8),
    _recommended(
        "greedy",
        "without CVS: greedy, the one expert that gives",
        "experts",
        experts="greedy",
        n_expert=1,  # more would be replaced by own rollouts, and steps would no longer be equal in tokens
        overrides=tuple(f"{key}=8" for key in MICRO_BATCHES),  # a step's 56 trajectories do not divide by 16
        seeds=ALL_SEEDS,
        paper=66.0,
    ),
    _recommended("scan_only", "scan only", "experts", experts="scan_only", paper=66.6),
    _recommended("drill_only", "drill only", "experts", experts="drill_only", paper=65.6),
    *(_recommended(f"experts_{n}", f"{n} experts a prompt", "how many", n_expert=n) for n in (2, 6, 8)),
    *(_recommended(f"looks_{n}", f"T_max {n}", "T_max", max_gazes=n, experts=f"looks_{n}") for n in (2, 4, 5)),
    *(
        _recommended(name, f"reward {' / '.join(map(str, weights))}", "reward", overrides=_weights(*weights))
        for name, weights in {
            "reward_acc": (1.0, 0.0, 0.0),
            "reward_acc_grammar": (0.8, 0.2, 0.0),
            "reward_diverse": (0.5, 0.2, 0.3),
        }.items()
    ),
    *(
        _recommended(
            f"replay_{order}",
            f"own successes for experts, {first} first, {RETURNING} questions",
            "replay",
            overrides=_replay(order),
        )
        for order, first in (("recency", "newest"), ("reward", "best"))
    ),
)


def named(names: list[str]) -> list[Row]:
    """Rows by name, in the table's order. Raises ValueError naming an unknown one."""
    known = {row.name for row in ROWS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown rows {', '.join(unknown)}: known are {', '.join(row.name for row in ROWS)}")
    return [row for row in ROWS if row.name in names]
