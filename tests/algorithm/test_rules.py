"""Every named rule: its recipe's objective equals what its authors published, restated here from their repositories.

The references are formulas read from the named file and function, written anew for this test (no code is copied). Our
aggregation is veRL's `agg_loss`; where theirs differs by a constant the test says so.
"""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from verl.trainer.ppo.core_algos import agg_loss

from medeyes_verl.algorithm.advantage import dual_stream_advantage, gated
from medeyes_verl.algorithm.policy_loss import dual_stream_terms
from medeyes_verl.algorithm.schedule import expert_weight, stream_weights
from medeyes_verl.algorithm.settings import DualStreamSettings
from medeyes_verl.settings.reader import read

RECIPES = Path(__file__).parents[2] / "medeyes_verl" / "config" / "medeyes"
ROWS, TOKENS = 12, 30
UNCLIPPED = {"clip_low": 1.0, "clip_high": 1e9, "clip_c": 1e9}


def rule(name: str) -> DualStreamSettings:
    recipe: Any = OmegaConf.load(RECIPES / f"{name}.yaml")
    return read(DualStreamSettings, OmegaConf.to_container(recipe.algorithm.medeyes))


def random_batch(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    log_probs_BT = -torch.rand(ROWS, TOKENS, generator=generator, dtype=torch.float64) * 4
    return {
        "log_probs_BT": log_probs_BT,
        "old_log_probs_BT": (log_probs_BT + torch.randn(ROWS, TOKENS, generator=generator) * 0.3).clamp(max=0.0),
        "mask_BT": torch.rand(ROWS, TOKENS, generator=generator) < 0.7,
        "expert_B": torch.arange(ROWS) % 4 == 3,
        "rewards_B": torch.rand(ROWS, generator=generator, dtype=torch.float64).round(decimals=1),
    }


def prompts() -> list[int]:
    return [row // 4 for row in range(ROWS)]


def value_and_gradient(loss: torch.Tensor, log_probs_BT: torch.Tensor) -> tuple[float, torch.Tensor]:
    (gradient_BT,) = torch.autograd.grad(loss, log_probs_BT)
    return loss.item(), gradient_BT


def assert_same(ours: tuple[float, torch.Tensor], theirs: tuple[float, torch.Tensor]) -> None:
    assert ours[0] == pytest.approx(theirs[0], rel=1e-9, abs=1e-12)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-9, atol=1e-12)


def centred_on_the_group(rewards_B: torch.Tensor) -> torch.Tensor:
    """LUFFY and RL-PLUS with grpo_use_std=False: the reward minus the mean of all 4 rows of its prompt."""
    return (rewards_B.view(-1, 4) - rewards_B.view(-1, 4).mean(1, keepdim=True)).flatten()


@pytest.mark.parametrize("seed", range(3))
def test_luffy_is_its_scripts_loss(seed: int) -> None:
    """ElliottYan/LUFFY, mix_src/mix_core_alg.py, compute_token_on_off_policy_loss with off_policy_reshape=p_div_p_0.1,
    loss_remove_clip and loss_remove_token_mean: a sum over tokens by one length. It adds rows up; ours is the mean."""
    batch = random_batch(seed)
    x_BT = batch["log_probs_BT"].requires_grad_()
    advantages_B = dual_stream_advantage(
        batch["rewards_B"],
        prompts(),
        batch["expert_B"],
        baseline=rule("luffy").off_policy_baseline,
        normalise_by_std=False,
    )
    torch.testing.assert_close(advantages_B, centred_on_the_group(batch["rewards_B"]), rtol=1e-12, atol=1e-12)
    terms = dual_stream_terms(
        x_BT, batch["old_log_probs_BT"], advantages_B[:, None].expand(ROWS, TOKENS), batch["mask_BT"],
        batch["expert_B"], rule("luffy"), **UNCLIPPED,
    )  # fmt: skip
    ours = agg_loss(terms.loss_BT, batch["mask_BT"], "seq-mean-token-sum-norm", loss_scale_factor=TOKENS)

    pi_BT = x_BT.exp()
    shaped_BT = pi_BT / (pi_BT + 0.1)
    own_BT = (x_BT - batch["old_log_probs_BT"]).exp()
    weight_BT = torch.where(batch["expert_B"][:, None], shaped_BT, own_BT)
    theirs = -(weight_BT * advantages_B[:, None] * batch["mask_BT"]).sum() / TOKENS
    assert_same(value_and_gradient(ours * ROWS, x_BT), value_and_gradient(theirs, x_BT))


@pytest.mark.parametrize("seed", range(3))
def test_rl_plus_is_its_scripts_loss(seed: int) -> None:
    """YihongDong/RL-PLUS, recipe/rlplus_core_alg.py, compute_token_on_off_policy_loss with off_policy_strategy=RL-PLUS,
    loss_remove_clip and loss_remove_token_mean; π_old of the expert's tokens is the policy's own."""
    batch = random_batch(seed)
    x_BT, old_BT = batch["log_probs_BT"].requires_grad_(), batch["old_log_probs_BT"]
    advantages_B = centred_on_the_group(batch["rewards_B"])
    terms = dual_stream_terms(
        x_BT, torch.where(batch["expert_B"][:, None], 0.0, old_BT), advantages_B[:, None].expand(ROWS, TOKENS),
        batch["mask_BT"], batch["expert_B"], rule("rl_plus"), **UNCLIPPED, behaviour_log_probs_BT=old_BT,
    )  # fmt: skip
    ours = agg_loss(terms.loss_BT, batch["mask_BT"], "seq-mean-token-sum-norm", loss_scale_factor=TOKENS)

    omega_BT = (old_BT.exp() + 1) / 2
    multiple_BT = 2 * x_BT.exp() / (old_BT.exp() + omega_BT)
    expert_BT = multiple_BT * (1 - x_BT.detach().exp()).sqrt()
    weight_BT = torch.where(batch["expert_B"][:, None], expert_BT, (x_BT - old_BT).exp())
    theirs = -(weight_BT * advantages_B[:, None] * batch["mask_BT"]).sum() / TOKENS
    assert_same(value_and_gradient(ours * ROWS, x_BT), value_and_gradient(theirs, x_BT))


def mu(step: int, warmup: int, decay: int, peak: float, valley: float) -> float:
    """modelscope/Trinity-RFT, policy_loss_fn/chord_policy_loss.py, mu_schedule_function."""
    if step < warmup:
        return step / warmup * peak
    if step >= warmup + decay:
        return valley
    return valley + (peak - valley) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / decay))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("step", [1, 57, 200, 700])
@pytest.mark.parametrize("name", ["chord_mu", "chord_phi"])
def test_chord_is_its_authors_loss(name: str, step: int, seed: int) -> None:
    """modelscope/Trinity-RFT, chord_policy_loss.py, MIXCHORDPolicyLossFn over SFTPhiLossFn or SFTLossFn with
    use_token_level_loss_in_sft=False (a mean over rows of means over tokens, as our recipes average); clip 0.2."""
    batch = random_batch(seed)
    x_BT, mask_BT, expert_B = batch["log_probs_BT"].requires_grad_(), batch["mask_BT"], batch["expert_B"]
    settings = rule(name)
    advantages_B = dual_stream_advantage(batch["rewards_B"], prompts(), expert_B, baseline=settings.off_policy_baseline)
    terms = dual_stream_terms(
        x_BT, batch["old_log_probs_BT"], advantages_B[:, None].expand(ROWS, TOKENS), mask_BT, expert_B, settings,
        clip_c=1e9, weights=stream_weights(settings, step, expert_B.double().mean().item()),
    )  # fmt: skip
    ours = agg_loss(terms.loss_BT, mask_BT, "seq-mean-token-mean")

    def mean_of_rows(loss_BT: torch.Tensor, rows_B: torch.Tensor) -> torch.Tensor:
        return ((loss_BT * mask_BT).sum(-1) / mask_BT.sum(-1))[rows_B].mean()

    ratio_BT = (x_BT - batch["old_log_probs_BT"]).exp()
    a_B1 = dual_stream_advantage(batch["rewards_B"], prompts(), expert_B)[:, None]
    grpo_BT = -torch.minimum(ratio_BT * a_B1, ratio_BT.clamp(0.8, 1.2) * a_B1)
    pi_BT = x_BT.detach().exp()
    sft_BT = -x_BT * (pi_BT * (1 - pi_BT) if name == "chord_phi" else 1.0)
    share = mu(step, 0, 200, 0.9, 0.05) if name == "chord_mu" else mu(step, 0, 0, 0.1, 0.1)
    theirs = (1 - share) * mean_of_rows(grpo_BT, ~expert_B) + share * mean_of_rows(sft_BT, expert_B)
    # agg_loss adds 1e-8 to the number of tokens
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-7)
    torch.testing.assert_close(
        value_and_gradient(ours, x_BT)[1], value_and_gradient(theirs, x_BT)[1], rtol=1e-6, atol=1e-12
    )


@pytest.mark.parametrize("seed", range(3))
def test_hpt_fine_tunes_on_unsolved_prompts_and_leaves_the_others_to_the_policy(seed: int) -> None:
    """HPT's paper (arXiv 2509.04419), and its run script's unify_strategy=switch, switch_gate=0, offline_loss_type=sft,
    grpo_use_std=False, loss_remove_clip: a prompt without success keeps its demonstration for -ln π, any other its
    rollouts for the policy gradient. Theirs averages the fine-tuning loss over tokens; here both are averaged alike.
    The trainer itself (TsinghuaC3I/Unify-Post-Training) was not at hand: the reference is the paper's formula."""
    batch = random_batch(seed)
    x_BT, mask_BT, expert_B = batch["log_probs_BT"].requires_grad_(), batch["mask_BT"], batch["expert_B"]
    rewards_B = torch.tensor([0.2, 0.3, 0.1, 1.0, 0.2, 0.9, 0.7, 1.0, 0.3, 0.3, 0.69, 1.0], dtype=torch.float64)
    settings = rule("hpt")
    advantages_B = gated(
        dual_stream_advantage(
            rewards_B, prompts(), expert_B, baseline=settings.off_policy_baseline, normalise_by_std=False
        ),
        rewards_B, prompts(), expert_B, solved_reward=settings.solved_reward, solve_rate=settings.gate_solve_rate,
        drop_rollouts=settings.gated_rollouts == "drop",
    )  # fmt: skip
    assert advantages_B.tolist() == pytest.approx([0, 0, 0, 1, -0.4, 0.3, 0.1, 0, 0, 0, 0, 1])
    terms = dual_stream_terms(
        x_BT, batch["old_log_probs_BT"], advantages_B[:, None].expand(ROWS, TOKENS), mask_BT, expert_B, settings,
        **UNCLIPPED,
    )  # fmt: skip
    ours = agg_loss(terms.loss_BT, mask_BT, "seq-mean-token-sum-norm", loss_scale_factor=TOKENS)

    own_BT = (
        -(x_BT - batch["old_log_probs_BT"]).exp()[4:7] * torch.tensor([-0.4, 0.3, 0.1], dtype=torch.float64)[:, None]
    )
    theirs = ((own_BT * mask_BT[4:7]).sum() - (x_BT * mask_BT)[[3, 11]].sum()) / TOKENS
    assert_same(value_and_gradient(ours * ROWS, x_BT), value_and_gradient(theirs, x_BT))


def test_sft_is_the_cross_entropy_of_the_experts_whatever_their_reward() -> None:
    batch = random_batch(0)
    x_BT, mask_BT, expert_B = batch["log_probs_BT"].requires_grad_(), batch["mask_BT"], batch["expert_B"]
    settings = rule("sft")
    advantages_B = dual_stream_advantage(batch["rewards_B"], prompts(), expert_B, baseline=settings.off_policy_baseline)
    terms = dual_stream_terms(
        x_BT, batch["old_log_probs_BT"], advantages_B[:, None].expand(ROWS, TOKENS), mask_BT, expert_B, settings,
        weights=stream_weights(settings, 1, expert_B.double().mean().item()),
    )  # fmt: skip
    ours = agg_loss(terms.loss_BT, mask_BT, "token-mean", batch_num_tokens=1) / mask_BT[expert_B].sum()
    theirs = -x_BT[expert_B][mask_BT[expert_B]].mean()
    assert ours.item() * 3 / ROWS == pytest.approx(theirs.item())
    gradient_BT = value_and_gradient(ours, x_BT)[1]
    assert not gradient_BT[~expert_B].any()


def test_the_papers_rule_by_its_name_is_the_default() -> None:
    assert rule("medeyes") == DualStreamSettings()


# ---- the parts of the frame by hand


@pytest.mark.parametrize(
    ("focus", "weight"),
    [("none", 1.0), ("uncertain", 0.16), ("rare", math.sqrt(0.8))],
)
def test_focus_by_hand(focus: Any, weight: float) -> None:
    """An expert token of π = 0.2, A = 2, shaping log: the gradient is −2 times the weight, and the weight has none."""
    settings = DualStreamSettings(off_policy_shaping="log", off_policy_clip=False, off_policy_focus=focus)
    x = torch.full((1, 1), math.log(0.2), dtype=torch.float64, requires_grad=True)
    one = torch.ones(1, 1, dtype=torch.float64)
    terms = dual_stream_terms(x, 0 * one, 2 * one, one, torch.ones(1), settings)
    assert terms.loss_BT.item() == pytest.approx(-2 * weight * math.log(0.2))
    assert value_and_gradient(terms.loss_BT.sum(), x)[1].item() == pytest.approx(-2 * weight)
    numerator, denominator = terms.diagnostics["expert/gradient_weight"]
    assert (numerator / denominator).item() == pytest.approx(weight)


@pytest.mark.parametrize(
    ("behaviour", "given_probability", "ratio"),
    [("certain", None, 0.2), ("stored", 0.4, 0.5), ("policy", 0.4, 0.5), ("mixture", 0.4, 0.2 / 0.55)],
)
def test_behaviour_probability_by_hand(behaviour: Any, given_probability: float | None, ratio: float) -> None:
    """π = 0.2; stored b = 0.4 gives 0.5; the mixture of π_old = 0.4 and ½(0.4 + 1) = 0.7 is 0.55."""
    settings = DualStreamSettings(expert_log_probs=behaviour, off_policy_clip=False)
    one = torch.ones(1, 1, dtype=torch.float64)
    given = None if given_probability is None else one * math.log(given_probability)
    terms = dual_stream_terms(
        one * math.log(0.2), 0 * one, one, one, torch.ones(1), settings, behaviour_log_probs_BT=given
    )
    assert terms.loss_BT.item() == pytest.approx(-ratio)


def test_fine_tuning_reaches_tokens_that_the_policy_would_never_write() -> None:
    """veRL's bound on the log ratio, ±20, keeps exp finite; ln π needs none, and its gradient must not end there."""
    settings = DualStreamSettings(off_policy_shaping="log", off_policy_clip=False)
    x = torch.full((1, 1), -35.0, requires_grad=True)
    one = torch.ones(1, 1)
    terms = dual_stream_terms(x, 0 * one, one, one, torch.ones(1), settings)
    assert terms.loss_BT.item() == pytest.approx(35.0)
    assert value_and_gradient(terms.loss_BT.sum(), x)[1].item() == pytest.approx(-1.0)


def test_stored_log_probabilities_that_nobody_gave_are_missed() -> None:
    one = torch.ones(1, 1)
    with pytest.raises(ValueError, match="no log-probabilities were given"):
        dual_stream_terms(one, one, one, one, torch.ones(1), DualStreamSettings(expert_log_probs="stored"))


@pytest.mark.parametrize(
    ("reading", "ratios"),
    [("token", [0.5, 0.8]), ("sequence", [0.4, 0.4]), ("sequence_mean", [math.sqrt(0.4)] * 2)],
)
@pytest.mark.parametrize("expert", [False, True])
def test_readings_of_the_ratio_by_hand(reading: Any, ratios: list[float], expert: bool) -> None:
    """Two written tokens of ratio 0.5 and 0.8, and a third of the environment's, which is no part of it."""
    settings = DualStreamSettings(ratio=reading, off_policy_clip=False)
    log_probs_BT = torch.tensor([[0.5, 0.8, 0.1]], dtype=torch.float64).log()
    mask_BT = torch.tensor([[1, 1, 0]])
    terms = dual_stream_terms(
        log_probs_BT, torch.zeros_like(log_probs_BT), torch.ones_like(log_probs_BT), mask_BT,
        torch.tensor([expert]), settings,
    )  # fmt: skip
    # A > 0 and a ratio below 1: the clip leaves the policy's tokens alone too
    assert terms.loss_BT[0, :2].tolist() == pytest.approx([-each for each in ratios])


@pytest.mark.parametrize("reading", ["sequence", "sequence_mean"])
def test_reported_gradient_weight_of_a_sequence_ratio_is_autograds(reading: Any) -> None:
    batch = random_batch(3)
    x_BT, mask_BT = batch["log_probs_BT"].requires_grad_(), batch["mask_BT"]
    settings = DualStreamSettings(ratio=reading, off_policy_clip=False, off_policy_weight=0.5)
    terms = dual_stream_terms(
        x_BT, batch["old_log_probs_BT"], torch.ones(ROWS, TOKENS).double(), mask_BT, batch["expert_B"], settings
    )
    gradient_BT = value_and_gradient((terms.loss_BT * mask_BT).sum(), x_BT)[1]
    for stream, rows_B in (("on_policy", ~batch["expert_B"]), ("expert", batch["expert_B"])):
        numerator, denominator = terms.diagnostics[f"{stream}/gradient_weight"]
        expected = gradient_BT.abs()[mask_BT & rows_B[:, None]].mean().item()
        assert (numerator / denominator).item() == pytest.approx(expected, rel=1e-5)


@given(
    step=st.integers(1, 500), warmup=st.integers(0, 100), decay=st.integers(1, 300),
    peak=st.floats(0, 2), end=st.floats(0, 2),
)  # fmt: skip
@hypothesis_settings(max_examples=200, deadline=None)
def test_the_schedule_is_chords_for_any_numbers(step: int, warmup: int, decay: int, peak: float, end: float) -> None:
    settings = DualStreamSettings(
        off_policy_weight=peak, off_policy_warmup_steps=warmup, off_policy_decay_steps=decay, off_policy_weight_end=end
    )
    weight = expert_weight(settings, step)
    assert weight == pytest.approx(mu(step, warmup, decay, peak, end))
    assert -1e-12 <= weight <= max(peak, end) + 1e-12


def test_the_cosine_rise_by_hand() -> None:
    settings = DualStreamSettings(off_policy_weight=2.0, off_policy_warmup_steps=4, off_policy_warmup="cosine")
    rise = [expert_weight(settings, step) for step in range(1, 6)]
    assert rise == pytest.approx([2 * (1 - math.sqrt(0.5)) / 2, 1.0, 2 * (1 + math.sqrt(0.5)) / 2, 2.0, 2.0])


@given(share=st.floats(0.01, 0.99), weight=st.floats(0, 1))
@hypothesis_settings(max_examples=50, deadline=None)
def test_weights_by_stream_are_shares_of_the_loss(share: float, weight: float) -> None:
    """Rows of loss 1 in both streams: the experts' part of the joint mean is their weight, whatever their number."""
    settings = DualStreamSettings(off_policy_weight=weight, complementary_weight=True, row_mean="by_stream")
    own, experts = stream_weights(settings, 1, share)
    assert experts * share == pytest.approx(weight)
    assert own * (1 - share) == pytest.approx(1 - weight)


@pytest.mark.parametrize(("share", "weights"), [(0.0, (1.0, 0.3)), (1.0, (1.0, 0.3))])
def test_a_missing_stream_takes_nothing_from_the_other(share: float, weights: tuple[float, float]) -> None:
    settings = DualStreamSettings(off_policy_weight=0.3, row_mean="by_stream")
    assert stream_weights(settings, 1, share) == pytest.approx(weights)


@given(
    rewards=st.lists(st.sampled_from([0.0, 0.3, 0.7, 1.0]), min_size=8, max_size=8),
    rate=st.sampled_from([0.0, 0.25, 0.5]),
    drop=st.booleans(),
)
@hypothesis_settings(max_examples=100, deadline=None)
def test_the_gate_lets_a_prompt_have_one_teacher(rewards: list[float], rate: float, drop: bool) -> None:
    experts = [False, False, False, True] * 2
    advantages_B = gated(
        torch.ones(8), torch.tensor(rewards), [0] * 4 + [1] * 4, experts, solved_reward=0.7, solve_rate=rate,
        drop_rollouts=drop,
    )  # fmt: skip
    for first in (0, 4):
        solved = sum(reward >= 0.7 for reward in rewards[first : first + 3]) / 3 > rate
        own, expert = advantages_B[first : first + 3], advantages_B[first + 3]
        assert expert == (0 if solved else 1)
        assert own.eq(1 if solved or not drop else 0).all()


def test_a_least_range_makes_nearly_equal_rewards_equal() -> None:
    """Wrong answers that differ by r_div alone (0.1 at most) have no advantage; a right one among them has."""
    wrong = torch.tensor([0.2, 0.25, 0.3, 0.2])
    assert dual_stream_advantage(wrong, [0] * 4).abs().max() > 1
    assert not dual_stream_advantage(wrong, [0] * 4, least_range=0.2).any()
    mixed = torch.tensor([0.2, 0.9, 0.3, 0.2])
    assert torch.equal(dual_stream_advantage(mixed, [0] * 4, least_range=0.2), dual_stream_advantage(mixed, [0] * 4))
    assert dual_stream_advantage(torch.tensor([0.3]), [0], least_range=0.2).item() == pytest.approx(0.3)


def test_under_the_on_policy_baseline_experts_still_teach_an_equal_group() -> None:
    rewards_B = torch.tensor([0.2, 0.25, 0.3, 0.2, 1.0])
    advantages_B = dual_stream_advantage(
        rewards_B, [0] * 5, [False] * 4 + [True], baseline="on_policy", least_range=0.2
    )
    assert advantages_B.tolist() == pytest.approx([0, 0, 0, 0, 4 / math.sqrt(5)])


@given(data=st.data())
@hypothesis_settings(max_examples=40, deadline=None)
def test_no_setting_changes_the_policys_own_tokens(data: st.DataObject) -> None:
    """Whatever is done to experts: the policy's rows have the loss that they have alone."""
    batch = random_batch(1)
    settings = DualStreamSettings(
        off_policy_clip=data.draw(st.booleans()),
        off_policy_focus=data.draw(st.sampled_from(["none", "uncertain", "rare"])),
        expert_log_probs=data.draw(st.sampled_from(["certain", "stored", "mixture"])),
        off_policy_shaping=data.draw(st.sampled_from(["none", "luffy"])),
    )
    same = [batch["log_probs_BT"], batch["old_log_probs_BT"], torch.ones(ROWS, TOKENS).double(), batch["mask_BT"]]
    alone_BT = dual_stream_terms(*same, torch.zeros(ROWS), DualStreamSettings()).loss_BT
    joint_BT = dual_stream_terms(
        *same, batch["expert_B"], settings, behaviour_log_probs_BT=batch["old_log_probs_BT"]
    ).loss_BT
    assert torch.equal(joint_BT[~batch["expert_B"]], alone_BT[~batch["expert_B"]])


def test_the_stream_of_each_token_can_be_said() -> None:
    batch = random_batch(2)
    by_row = [batch["log_probs_BT"], batch["old_log_probs_BT"], torch.ones(ROWS, TOKENS).double(), batch["mask_BT"]]
    rows_BT = batch["expert_B"][:, None].expand(ROWS, TOKENS)
    settings = DualStreamSettings(off_policy_weight=0.3)
    assert torch.equal(
        dual_stream_terms(*by_row, rows_BT, settings).loss_BT,
        dual_stream_terms(*by_row, batch["expert_B"], settings).loss_BT,
    )
