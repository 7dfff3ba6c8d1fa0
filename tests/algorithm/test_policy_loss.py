"""Policy loss: veRL's `vanilla` on rollouts, the paper's π/1 rule and its cure on expert tokens."""

import math
from typing import Any

import pytest
import torch
from verl.trainer.ppo.core_algos import agg_loss, compute_policy_loss_vanilla
from verl.workers.config import ActorConfig

from medeyes_verl.algorithm.advantage import dual_stream_advantage
from medeyes_verl.algorithm.policy_loss import dual_stream_terms
from medeyes_verl.algorithm.settings import DualStreamSettings

PAPER = DualStreamSettings()
LUFFY = DualStreamSettings(off_policy_shaping="luffy", off_policy_clip=False)
LUFFY_CLIPPED = DualStreamSettings(off_policy_shaping="luffy")
LOG = DualStreamSettings(off_policy_shaping="log", off_policy_clip=False)
LOG_CLIPPED = DualStreamSettings(off_policy_shaping="log")
UNCLIPPED = DualStreamSettings(off_policy_clip=False)


def random_batch(rows: int = 12, tokens: int = 40, seed: int = 0) -> dict[str, torch.Tensor]:
    """Log-probabilities far enough apart that every branch of both clips and of the bound is taken."""
    generator = torch.Generator().manual_seed(seed)
    log_probs_BT = -torch.rand(rows, tokens, generator=generator) * 3
    old_log_probs_BT = log_probs_BT + torch.randn(rows, tokens, generator=generator)
    old_log_probs_BT[0, :4] = torch.tensor([-60.0, 60.0, -60.0, 60.0])
    old_log_probs_BT[1] = log_probs_BT[1]
    advantages_B = torch.randn(rows, 1, generator=generator)
    advantages_B[2] = 0
    mask_BT = torch.rand(rows, tokens, generator=generator) < 0.7
    mask_BT[3] = False
    return {
        "log_probs_BT": log_probs_BT,
        "old_log_probs_BT": old_log_probs_BT,
        "advantages_BT": advantages_B * mask_BT,
        "mask_BT": mask_BT,
    }


def summed(terms, name):
    numerator, denominator = terms.diagnostics[name]
    return (numerator / denominator).item()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("with_is_weights", [False, True])
@pytest.mark.parametrize("clips", [(0.2, 0.2, 3.0), (0.2, 0.28, 10.0), (0.5, 0.1, 1.5)])
def test_rollouts_equal_stock_vanilla_to_the_last_bit(clips, with_is_weights, seed):
    clip_low, clip_high, clip_c = clips
    batch = random_batch(seed=seed)
    is_weights_BT = torch.rand_like(batch["log_probs_BT"]) * 2 if with_is_weights else None
    config = ActorConfig(
        strategy="fsdp2", rollout_n=1, use_dynamic_bsz=True,
        clip_ratio_low=clip_low, clip_ratio_high=clip_high, clip_ratio_c=clip_c,
    )  # fmt: skip
    log_probs_BT = batch["log_probs_BT"].clone().requires_grad_()
    stock, metrics = compute_policy_loss_vanilla(
        batch["old_log_probs_BT"], log_probs_BT, batch["advantages_BT"], batch["mask_BT"],
        loss_agg_mode="seq-mean-token-mean", config=config, rollout_is_weights=is_weights_BT,
    )  # fmt: skip
    (stock_gradient_BT,) = torch.autograd.grad(stock, log_probs_BT)

    terms = dual_stream_terms(
        **{**batch, "log_probs_BT": log_probs_BT}, expert_B=torch.zeros(12), settings=LUFFY_CLIPPED,
        clip_low=clip_low, clip_high=clip_high, clip_c=clip_c, rollout_is_weights_BT=is_weights_BT,
    )  # fmt: skip
    ours = agg_loss(terms.loss_BT, batch["mask_BT"], "seq-mean-token-mean")
    (our_gradient_BT,) = torch.autograd.grad(ours, log_probs_BT)

    assert torch.equal(ours, stock)
    assert torch.equal(our_gradient_BT, stock_gradient_BT)
    assert summed(terms, "on_policy/clip_fraction") == pytest.approx(metrics["actor/pg_clipfrac"])
    assert summed(terms, "on_policy/dual_clip_fraction") == pytest.approx(metrics["actor/pg_clipfrac_lower"])
    assert summed(terms, "on_policy/approx_kl") == pytest.approx(metrics["actor/ppo_kl"], rel=1e-5)
    assert metrics["actor/pg_clipfrac_lower"] > 0


def test_experts_beside_them_leave_rollouts_untouched():
    batch = random_batch()
    expert_B = torch.arange(12) % 2 == 1
    alone_BT = dual_stream_terms(**batch, expert_B=torch.zeros(12), settings=PAPER).loss_BT
    joint_BT = dual_stream_terms(**batch, expert_B=expert_B, settings=LUFFY).loss_BT
    assert torch.equal(joint_BT[~expert_B], alone_BT[~expert_B])
    assert not torch.equal(joint_BT[expert_B], alone_BT[expert_B])


# The published rule and its cure: |∂loss/∂log π| / |A| of an expert token.
GRADIENT_TABLE = [
    # π_θ, paper A>0, paper A<0, no clip, luffy (no clip, and clip with A>0), luffy with clip and A<0
    (0.001, 0.001, 0.0, 0.001, 0.1 * 0.001 / 0.101**2, 0.0),
    (0.1, 0.1, 0.0, 0.1, 0.25, 0.0),
    (0.5, 0.5, 0.0, 0.5, 0.05 / 0.36, 0.05 / 0.36),
    (0.9, 0.9, 0.9, 0.9, 0.09, 0.09),
]
GRADIENT_CASES = [
    (name, settings, probability, sign, weight)
    for probability, paper_up, paper_down, plain, luffy, luffy_down in GRADIENT_TABLE
    for name, settings, sign, weight in [
        ("paper", PAPER, 1, paper_up),
        ("paper", PAPER, -1, paper_down),
        ("unclipped", UNCLIPPED, 1, plain),
        ("unclipped", UNCLIPPED, -1, plain),
        ("luffy", LUFFY, 1, luffy),
        ("luffy", LUFFY, -1, luffy),
        ("luffy_clipped", LUFFY_CLIPPED, 1, luffy),
        ("luffy_clipped", LUFFY_CLIPPED, -1, luffy_down),
        ("log", LOG, 1, 1.0),
        ("log", LOG, -1, 1.0),
        ("log_clipped", LOG_CLIPPED, 1, 1.0),
        ("log_clipped", LOG_CLIPPED, -1, 0.0),
    ]
]


def test_gradient_table_is_the_documented_one():
    documented = [(0.001, 0.001, 0, 0.010), (0.1, 0.1, 0, 0.25), (0.5, 0.5, 0, 0.139), (0.9, 0.9, 0.9, 0.09)]
    rounded = [(p, up, down, round(luffy, 3)) for p, up, down, _, luffy, _ in GRADIENT_TABLE]
    assert rounded == documented


@pytest.mark.parametrize(
    ("settings", "probability", "sign", "weight"),
    [pytest.param(*case[1:], id=f"{case[0]}-{case[2]}-{'up' if case[3] > 0 else 'down'}") for case in GRADIENT_CASES],
)
def test_expert_gradients(settings, probability, sign, weight):
    advantage = 1.7 * sign

    def token_loss(log_prob: torch.Tensor) -> Any:
        one = torch.ones(1, 1, dtype=torch.float64)
        return dual_stream_terms(log_prob, 0 * one, advantage * one, one, torch.ones(1), settings)

    log_prob = torch.full((1, 1), math.log(probability), dtype=torch.float64, requires_grad=True)
    terms = token_loss(log_prob)
    (gradient,) = torch.autograd.grad(terms.loss_BT.sum(), log_prob)
    step = 1e-6
    with torch.no_grad():
        difference = (token_loss(log_prob + step).loss_BT - token_loss(log_prob - step).loss_BT) / (2 * step)

    assert gradient.item() == pytest.approx(-advantage * weight, abs=1e-12)
    assert difference.item() == pytest.approx(-advantage * weight, abs=1e-8)
    assert summed(terms, "expert/gradient_weight") == pytest.approx(weight, rel=1e-5)
    assert summed(terms, "expert/mean_probability") == pytest.approx(probability, rel=1e-5)
    assert summed(terms, "expert/clip_fraction") == (1.0 if weight == 0 else 0.0)


@pytest.mark.parametrize("settings", [PAPER, UNCLIPPED, LUFFY, LUFFY_CLIPPED, LOG, LOG_CLIPPED])
def test_reported_gradient_weight_is_autograds(settings):
    settings = DualStreamSettings(
        off_policy_shaping=settings.off_policy_shaping, off_policy_clip=settings.off_policy_clip,
        on_policy_weight=0.5, off_policy_weight=2.0,
    )  # fmt: skip
    batch = random_batch(seed=5)
    log_probs_BT = batch["log_probs_BT"].requires_grad_()
    expert_B = torch.arange(12) % 3 == 1
    terms = dual_stream_terms(
        **batch,
        expert_B=expert_B,
        settings=settings,
        rollout_is_weights_BT=torch.rand_like(log_probs_BT.detach()),
    )
    (gradient_BT,) = torch.autograd.grad(terms.loss_BT.sum(), log_probs_BT)
    for name, rows_B in (("on_policy", ~expert_B), ("expert", expert_B)):
        taught_BT = batch["mask_BT"] & (batch["advantages_BT"] != 0) & rows_B.unsqueeze(-1)
        expected = (gradient_BT.abs() / batch["advantages_BT"].abs())[taught_BT].mean().item()
        assert summed(terms, f"{name}/gradient_weight") == pytest.approx(expected, rel=1e-5)


def test_old_log_probs_and_is_weights_of_experts_are_ignored():
    batch = random_batch()
    experts = {"expert_B": torch.ones(12), "settings": PAPER}
    reference_BT = dual_stream_terms(**batch, **experts).loss_BT
    batch["old_log_probs_BT"] = torch.zeros_like(batch["old_log_probs_BT"])
    weights_BT = torch.full_like(batch["log_probs_BT"], 7.0)
    assert torch.equal(dual_stream_terms(**batch, **experts, rollout_is_weights_BT=weights_BT).loss_BT, reference_BT)


def test_stream_weights_scale_their_rows():
    batch = random_batch()
    expert_B = torch.arange(12) >= 6
    plain_BT = dual_stream_terms(**batch, expert_B=expert_B, settings=PAPER).loss_BT
    weighted = DualStreamSettings(on_policy_weight=0.25, off_policy_weight=4.0)
    weighted_BT = dual_stream_terms(**batch, expert_B=expert_B, settings=weighted).loss_BT
    assert torch.equal(weighted_BT[:6], plain_BT[:6] * 0.25)
    assert torch.equal(weighted_BT[6:], plain_BT[6:] * 4.0)


@pytest.mark.parametrize("splits", [[12], [1] * 12, [5, 4, 3]])
def test_aggregation_does_not_depend_on_the_micro_batch_split(splits):
    batch = {name: tensor.double() for name, tensor in random_batch().items()}
    batch["mask_BT"] = batch["mask_BT"].bool()
    expert_B = torch.arange(12) % 3 == 0
    whole = dual_stream_terms(**batch, expert_B=expert_B, settings=LUFFY)
    expected = sum(row[mask].mean() for row, mask in zip(whole.loss_BT, batch["mask_BT"], strict=True) if mask.any())

    total, sums = 0.0, {}
    for rows in torch.arange(12).split(splits):
        micro = {name: tensor[rows] for name, tensor in batch.items()}
        terms = dual_stream_terms(**micro, expert_B=expert_B[rows], settings=LUFFY)
        total += agg_loss(terms.loss_BT, micro["mask_BT"], "seq-mean-token-mean", global_batch_size=12)
        for name, (numerator, denominator) in terms.diagnostics.items():
            old_numerator, old_denominator = sums.get(name, (0.0, 0.0))
            sums[name] = (old_numerator + numerator, old_denominator + denominator)

    assert float(total) == pytest.approx(float(expected) / 12, rel=1e-6)
    for name, (numerator, denominator) in sums.items():
        assert float(numerator / denominator) == pytest.approx(summed(whole, name), rel=1e-5)


def test_masked_tokens_reach_neither_gradient_nor_diagnostics():
    batch = random_batch()
    expert_B = torch.arange(12) % 2 == 0
    changed = {name: tensor.clone() for name, tensor in batch.items()}
    changed["log_probs_BT"][~batch["mask_BT"]] = float("nan")
    before = dual_stream_terms(**batch, expert_B=expert_B, settings=PAPER).diagnostics
    after = dual_stream_terms(**changed, expert_B=expert_B, settings=PAPER).diagnostics
    assert before == after


def test_batch_without_a_stream_has_denominator_zero():
    terms = dual_stream_terms(**random_batch(), expert_B=torch.zeros(12), settings=PAPER)
    assert [float(value) for value in terms.diagnostics["expert/clip_fraction"]] == [0.0, 0.0]


def test_dual_clip_below_one_is_refused():
    with pytest.raises(ValueError, match=r"clip_c is 1\.0"):
        dual_stream_terms(**random_batch(), expert_B=torch.zeros(12), settings=PAPER, clip_c=1.0)


def test_log_shaping_without_a_baseline_is_supervised_fine_tuning():
    """Experts of reward 1: the loss is the cross-entropy of their tokens, gradient included."""
    torch.manual_seed(0)
    logits = torch.randn(3, 5, 7, dtype=torch.float64, requires_grad=True)
    tokens = torch.randint(7, (3, 5))
    log_probs_BT = torch.log_softmax(logits, -1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    one_BT = torch.ones(3, 5, dtype=torch.float64)
    advantages_B = dual_stream_advantage(torch.ones(3).double(), ["q"] * 3, [True] * 3, baseline="none")
    terms = dual_stream_terms(log_probs_BT, 0 * one_BT, advantages_B[:, None] * one_BT, one_BT, torch.ones(3), LOG)
    (ours,) = torch.autograd.grad(terms.loss_BT.mean(), logits, retain_graph=True)
    stock = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
    (theirs,) = torch.autograd.grad(stock, logits)
    assert terms.loss_BT.mean().item() == pytest.approx(stock.item())
    torch.testing.assert_close(ours, theirs)
