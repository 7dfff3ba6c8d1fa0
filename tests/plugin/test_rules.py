"""Rules as a run has them: recipe, estimator and loss composed as veRL composes them, on one fixed batch."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from tensordict import TensorDict
from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY, get_adv_estimator_fn, get_policy_loss_fn
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass

from medeyes_verl.algorithm.settings import DualStreamSettings
from medeyes_verl.config.settings import dual_stream_settings, rollout_settings
from medeyes_verl.plugin.metrics import divided
from medeyes_verl.plugin.objective import BEHAVIOUR, EXPERT_SHARE, EXPERT_TOKENS, STEP, dual_stream_ppo_loss, weights_of
from medeyes_verl.plugin.preflight_rules import NOT_FOR_ROWS
from medeyes_verl.plugin.rule_rows import behaviour_field, expert_share, expert_tokens, gate_metrics, require_behaviour
from medeyes_verl.plugin.streams import EXPERT, ON_POLICY, labelled

RULES = ["medeyes", "recommended", "luffy", "sft", "grpo", "chord_mu", "chord_phi", "hpt", "rl_plus", "prefix"]
OF_ROWS = sorted(set(POLICY_LOSS_REGISTRY) - set(NOT_FOR_ROWS))
ROWS, TOKENS, PROMPT = 8, 16, 3


@cache
def composed(*recipes: str) -> DictConfig:
    with initialize_config_module(config_module="verl.trainer.config", version_base=None):
        return compose(
            "ppo_trainer",
            overrides=[f"+medeyes=[{','.join(recipes)}]", "medeyes.data=some/data", "medeyes.model=some/model"],
        )


def actor_of(config: DictConfig, **changes: Any) -> Any:
    actor = OmegaConf.merge(config.actor_rollout_ref.actor, changes)
    OmegaConf.resolve(actor)
    return omega_conf_to_dataclass(actor)


def nested(rows_BT: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    rows = [row[:length] for row, length in zip(rows_BT, lengths, strict=True)]
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


class Batch:
    """Two prompts of four rows; rows 3 and 7 are experts'. As an actor gets it: responses of unequal length."""

    def __init__(self, seed: int = 0, experts: bool = True) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.lengths = torch.randint(4, TOKENS + 1, (ROWS,), generator=generator).tolist()
        self.lengths[0] = TOKENS
        self.expert_B = (torch.arange(ROWS) % 4 == 3) & experts
        inside_BT = torch.arange(TOKENS) < torch.tensor(self.lengths)[:, None]
        self.mask_BT = (torch.rand(ROWS, TOKENS, generator=generator) < 0.8) & inside_BT
        self.mask_BT[:, 0] = True
        self.log_probs_BT = -torch.rand(ROWS, TOKENS, generator=generator) * 3 * inside_BT
        self.policy_BT = (self.log_probs_BT + 0.3 * torch.randn(ROWS, TOKENS, generator=generator)).clamp(max=0)
        self.policy_BT = self.policy_BT * inside_BT
        self.old_BT = self.policy_BT.masked_fill(self.expert_B[:, None], 0.0)
        self.rewards_B = torch.tensor([0.2, 0.3, 0.1, 1.0, 0.2, 0.9, 0.7, 0.8])
        self.entropy_BT = torch.rand(ROWS, TOKENS, generator=generator) * inside_BT

    def advantages(self, config: DictConfig) -> torch.Tensor:
        streams = [EXPERT if expert else ON_POLICY for expert in self.expert_B.tolist()]
        ours = config.algorithm.adv_estimator == "medeyes_dual_stream"
        ids = [f"q{row // 4}" for row in range(ROWS)]
        rewards_BT = torch.zeros(ROWS, TOKENS)
        rewards_BT[:, 0] = self.rewards_B
        advantages_BT, _ = get_adv_estimator_fn(config.algorithm.adv_estimator)(
            token_level_rewards=rewards_BT,
            response_mask=self.mask_BT,
            index=np.array([labelled(i, s) if ours else i for i, s in zip(ids, streams, strict=True)], dtype=object),
            norm_adv_by_std_in_grpo=config.algorithm.norm_adv_by_std_in_grpo,
            config=config.algorithm,
        )
        return advantages_BT

    def data(self, advantages_BT: torch.Tensor, settings: DualStreamSettings, step: int = 1) -> TensorDict:
        fields = {
            "prompts": nested(torch.ones(ROWS, PROMPT, dtype=torch.long), [PROMPT] * ROWS),
            "responses": nested(torch.ones(ROWS, TOKENS, dtype=torch.long), self.lengths),
            "response_mask": nested(self.mask_BT.long(), self.lengths),
            "old_log_probs": nested(self.old_BT, self.lengths),
            "advantages": nested(advantages_BT, self.lengths),
            "expert": self.expert_B.long(),
        }
        fields["attention_mask"] = nested(
            torch.ones(ROWS, PROMPT + TOKENS, dtype=torch.long), [PROMPT + each for each in self.lengths]
        )
        if behaviour_field(settings) is not None:
            fields[BEHAVIOUR] = nested(self.policy_BT, self.lengths)
        data = tu.get_tensordict(fields)
        share = expert_share(data, self.expert_B, [True] * ROWS, by_tokens=False)
        for key, value in {
            STEP: step, EXPERT_SHARE: share, "dp_size": 1, "batch_num_tokens": int(self.mask_BT.sum()),
            "global_batch_size": ROWS, "max_response_len": TOKENS,
        }.items():  # fmt: skip
            tu.assign_non_tensor_data(data, key, value)
        return data

    def output(self, log_probs_BT: torch.Tensor) -> dict[str, torch.Tensor]:
        """A model's output over prompt and response: the log-probability of a token stands one place before it."""

        def shifted(of_response_BT: torch.Tensor) -> torch.Tensor:
            whole = [
                torch.cat([torch.zeros(PROMPT - 1), row[:length], torch.zeros(1)])
                for row, length in zip(of_response_BT, self.lengths, strict=True)
            ]
            return torch.nested.nested_tensor_from_jagged(
                torch.cat(whole), torch.tensor([0] + [len(each) for each in whole]).cumsum(0)
            )

        return {"log_probs": shifted(log_probs_BT), "entropy": shifted(self.entropy_BT)}


def loss_and_gradient(
    batch: Batch,
    config: DictConfig,
    settings: DualStreamSettings,
    advantages_BT: torch.Tensor,
    step: int = 1,
    **actor: Any,
) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
    log_probs_BT = batch.log_probs_BT.clone().requires_grad_()
    loss, metrics = dual_stream_ppo_loss(
        actor_of(config, **actor),
        batch.output(log_probs_BT),
        batch.data(advantages_BT, settings, step),
        settings=settings,
    )
    (gradient_BT,) = torch.autograd.grad(loss, log_probs_BT)
    return loss.detach(), gradient_BT, metrics


@pytest.mark.parametrize("name", RULES)
def test_a_rule_runs_and_teaches_as_it_says(name: str) -> None:
    """Recipe, estimator and loss together: finite, with a gradient on the streams that the rule has teach."""
    config = composed("cpu_tiny", name)
    settings = dual_stream_settings(config.algorithm)
    rollout_settings(config)
    batch = Batch(experts=name != "grpo")
    advantages_BT = batch.advantages(config)
    loss, gradient_BT, metrics = loss_and_gradient(batch, config, settings, advantages_BT)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient_BT).all()
    assert not gradient_BT[~batch.mask_BT].any()
    taught = {ON_POLICY: gradient_BT[~batch.expert_B].any(), EXPERT: gradient_BT[batch.expert_B].any()}
    assert bool(taught[ON_POLICY]) == (name != "sft")
    # one expert a prompt: under the paper's own statistics it keeps its reward as its advantage
    assert bool(taught[EXPERT]) == (name != "grpo")
    numbers = {key: value for key, value in metrics.items() if isinstance(value, float)}
    divided(numbers)
    assert all(np.isfinite(value) for value in numbers.values())


def test_the_gate_of_hpt_gives_each_prompt_one_teacher() -> None:
    config = composed("cpu_tiny", "hpt")
    batch = Batch()
    advantages_B = batch.advantages(config)[:, 0]
    assert advantages_B.tolist() == pytest.approx([0, 0, 0, 1, -0.4, 0.3, 0.1, 0], abs=1e-6)
    settings = dual_stream_settings(config.algorithm)
    rows = {"rm_scores": batch.rewards_B[:, None]}
    streams = [EXPERT if expert else ON_POLICY for expert in batch.expert_B.tolist()]
    ids = [f"q{row // 4}" for row in range(ROWS)]
    assert gate_metrics(rows, ids, streams, [True] * ROWS, settings) == {"medeyes/on_policy/unsolved_prompts": 0.5}
    assert gate_metrics(rows, ids, streams, [True] * ROWS, DualStreamSettings()) == {}


def test_the_training_step_reaches_the_loss() -> None:
    """CHORD's μ falls with the step that the trainer sends along: the experts' gradient falls, the policy's rises."""
    config = composed("cpu_tiny", "chord_mu")
    settings = dual_stream_settings(config.algorithm)
    batch = Batch()
    advantages_BT = batch.advantages(config)
    at = {step: loss_and_gradient(batch, config, settings, advantages_BT, step)[1] for step in (1, 100, 300)}
    for step, share in ((100, 0.475), (300, 0.05)):
        first = 0.05 + 0.85 * (1 + np.cos(np.pi / 200)) / 2
        torch.testing.assert_close(
            at[step][batch.expert_B], at[1][batch.expert_B] * share / first, rtol=1e-4, atol=1e-9
        )
        torch.testing.assert_close(
            at[step][~batch.expert_B], at[1][~batch.expert_B] * (1 - share) / (1 - first), rtol=1e-4, atol=1e-9
        )


def test_a_trainer_that_sends_no_step_is_refused_where_the_rule_needs_one() -> None:
    data = tu.get_tensordict({"expert": torch.ones(2)})
    assert weights_of(data, DualStreamSettings(off_policy_weight=0.5)) == (1.0, 0.5)
    scheduled = DualStreamSettings(off_policy_warmup_steps=5)
    for settings in (scheduled, DualStreamSettings(row_mean="by_stream")):
        with pytest.raises(ValueError, match=r"medeyes_step and medeyes_expert_share"):
            weights_of(data, settings)


def test_a_batch_without_the_behaviours_log_probabilities_is_refused() -> None:
    config, batch = composed("cpu_tiny", "rl_plus"), Batch()
    data = batch.data(batch.advantages(config), DualStreamSettings())
    with pytest.raises(ValueError, match="no field behaviour_log_probs"):
        dual_stream_ppo_loss(
            actor_of(config), batch.output(batch.log_probs_BT), data, settings=dual_stream_settings(config.algorithm)
        )


# ---- the policy's own rows under veRL's losses


def own(name: str, **more: Any) -> DualStreamSettings:
    return DualStreamSettings(on_policy_loss=name, off_policy_shaping="log", off_policy_clip=False, **more)


@pytest.mark.parametrize("mode", ["seq-mean-token-mean", "token-mean", "seq-mean-token-sum-norm"])
@pytest.mark.parametrize("name", OF_ROWS)
def test_without_experts_the_loss_is_verls_to_the_last_bit(name: str, mode: str) -> None:
    from verl.workers.utils.losses import ppo_loss

    config = composed("cpu_tiny")
    batch = Batch(seed=1, experts=False)
    advantages_BT = batch.advantages(config)
    changes: dict[str, Any] = {"loss_agg_mode": mode, "policy_loss": {"dro_beta": 0.1}}
    torch.manual_seed(0)
    ours, our_gradient_BT, _ = loss_and_gradient(batch, config, own(name), advantages_BT, **changes)

    torch.manual_seed(0)
    changes["policy_loss"]["loss_mode"] = name
    x_BT = batch.log_probs_BT.clone().requires_grad_()
    stock, _ = ppo_loss(actor_of(config, **changes), batch.output(x_BT), batch.data(advantages_BT, own(name)))
    (stock_gradient_BT,) = torch.autograd.grad(stock, x_BT)
    assert torch.equal(ours, stock.detach())
    assert torch.equal(our_gradient_BT, stock_gradient_BT)
    assert our_gradient_BT.any()


@pytest.mark.parametrize("name", OF_ROWS)
def test_with_experts_each_stream_has_its_own_loss(name: str) -> None:
    """The policy's rows get the gradient they have without the experts' tokens, the experts' rows that of ours."""
    config = composed("cpu_tiny")
    batch = Batch(seed=2)
    advantages_BT = torch.where(batch.expert_B[:, None], 1.0, batch.advantages(config)) * batch.mask_BT
    changes: dict[str, Any] = {"policy_loss": {"dro_beta": 0.1}}
    torch.manual_seed(0)
    _, both_BT, metrics = loss_and_gradient(batch, config, own(name, on_policy_weight=0.5), advantages_BT, **changes)
    assert torch.isfinite(both_BT).all()

    _, ours_BT, _ = loss_and_gradient(batch, config, own("dual_stream"), advantages_BT)
    torch.testing.assert_close(both_BT[batch.expert_B], ours_BT[batch.expert_B])

    changes["policy_loss"]["loss_mode"] = name
    x_BT = batch.log_probs_BT.clone().requires_grad_()
    masked = Batch(seed=2)
    masked.mask_BT = batch.mask_BT & ~batch.expert_B[:, None]
    info = {"dp_size": 1, "batch_num_tokens": int(batch.mask_BT.sum()), "global_batch_size": ROWS}
    actor = actor_of(config, **changes)
    actor.global_batch_info.update(info)
    torch.manual_seed(0)
    stock, _ = get_policy_loss_fn(name)(
        old_log_prob=torch.where(batch.expert_B[:, None], x_BT.detach(), batch.old_BT), log_prob=x_BT,
        advantages=advantages_BT * masked.mask_BT, response_mask=masked.mask_BT,
        loss_agg_mode=actor.loss_agg_mode, config=actor, rollout_is_weights=None,
    )  # fmt: skip
    (stock_BT,) = torch.autograd.grad(stock, x_BT)
    torch.testing.assert_close(both_BT[~batch.expert_B], stock_BT[~batch.expert_B] * 0.5)
    assert name == "gpg" or any(key.startswith("medeyes/on_policy/") for key in metrics), "gpg logs nothing"


def test_vanilla_beside_experts_is_the_papers_own_loss_on_both_streams() -> None:
    """veRL's vanilla and ours agree on the policy's rows, so naming it must not change the whole."""
    config, batch = composed("cpu_tiny"), Batch(seed=3)
    advantages_BT = batch.advantages(config)
    named = DualStreamSettings(on_policy_loss="vanilla")
    one, one_BT, _ = loss_and_gradient(batch, config, DualStreamSettings(), advantages_BT)
    two, two_BT, _ = loss_and_gradient(batch, config, named, advantages_BT)
    torch.testing.assert_close(one, two)
    torch.testing.assert_close(one_BT, two_BT)


# ---- what a step's rows are asked for


def test_rows_without_stored_log_probabilities_are_counted_or_refused() -> None:
    batch = Batch()
    rows = batch.data(torch.zeros(ROWS, TOKENS), DualStreamSettings())
    rows["rollout_log_probs"] = nested(batch.old_BT, batch.lengths)
    with pytest.raises(ValueError, match="none of the 2 expert rows"):
        require_behaviour(rows, "rollout_log_probs", batch.expert_B)
    some_BT = batch.old_BT.clone()
    some_BT[3] = batch.policy_BT[3]
    rows["rollout_log_probs"] = nested(some_BT, batch.lengths)
    counted = require_behaviour(rows, "rollout_log_probs", batch.expert_B)
    assert counted == {"medeyes/expert/without_log_probs": 0.5}
    assert require_behaviour(rows, "rollout_log_probs", torch.zeros(ROWS).bool()) == {}
    assert require_behaviour(rows, "old_log_probs", batch.expert_B) == {}


def test_the_experts_share_leaves_padding_out() -> None:
    batch = Batch()
    rows = batch.data(torch.zeros(ROWS, TOKENS), DualStreamSettings())
    real = [True] * 6 + [False] * 2
    assert expert_share(rows, batch.expert_B, [True] * ROWS, by_tokens=False) == 0.25
    assert expert_share(rows, batch.expert_B, real, by_tokens=False) == pytest.approx(1 / 6)
    tokens = batch.mask_BT.sum(1).double()
    assert expert_share(rows, batch.expert_B, real, by_tokens=True) == pytest.approx(
        (tokens[3] / tokens[:6].sum()).item()
    )


# ---- an expert's beginning, the policy's end


def test_a_prefix_is_the_experts_and_the_rest_the_policys() -> None:
    """The first 4 tokens of row 3 have the expert's loss, the others that of a rollout; log-probabilities likewise."""
    config, batch = composed("cpu_tiny"), Batch(seed=4)
    settings = DualStreamSettings(off_policy_shaping="log", off_policy_clip=False)
    advantages_BT = torch.ones(ROWS, TOKENS) * batch.mask_BT
    rows = batch.data(advantages_BT, settings)
    fields: list[dict[str, Any]] = [{} for _ in range(ROWS)]
    fields[3] = {"expert_tokens": 4}
    tokens_B = expert_tokens(fields, rows, batch.expert_B)
    assert tokens_B.tolist() == [0, 0, 0, 4, 0, 0, 0, batch.lengths[7]]

    prefix_BT = (torch.arange(TOKENS) < tokens_B[:, None]) & batch.expert_B[:, None]
    batch.old_BT = batch.policy_BT.masked_fill(prefix_BT, 0.0)
    data = batch.data(advantages_BT, settings)
    data[EXPERT_TOKENS] = tokens_B
    x_BT = batch.log_probs_BT.clone().requires_grad_()
    joint, _ = dual_stream_ppo_loss(actor_of(config), batch.output(x_BT), data, settings=settings)
    (gradient_BT,) = torch.autograd.grad(joint, x_BT)
    per_row_B = batch.mask_BT.sum(1, keepdim=True) * ROWS
    ratio_BT = (batch.log_probs_BT - batch.policy_BT).exp()
    own_BT = torch.where(ratio_BT > 1.2, 0.0, ratio_BT)  # A = 1: clipped above
    wanted_BT = -torch.where(prefix_BT, 1.0, own_BT) / per_row_B * batch.mask_BT
    torch.testing.assert_close(gradient_BT, wanted_BT, rtol=1e-4, atol=1e-7)
    with pytest.raises(ValueError, match="on_policy_loss=vanilla with rows that an expert begins"):
        dual_stream_ppo_loss(
            actor_of(config), batch.output(x_BT), data, settings=DualStreamSettings(on_policy_loss="vanilla")
        )


# ---- what of veRL works beside experts (docs/rules.md)


def test_entropy_bonus_and_kl_loss_cover_the_tokens_of_both_streams() -> None:
    config, batch = composed("cpu_tiny"), Batch(seed=5)
    settings, advantages_BT = DualStreamSettings(), Batch(seed=5).advantages(composed("cpu_tiny"))
    plain, _, _ = loss_and_gradient(batch, config, settings, advantages_BT)
    bonus, _, _ = loss_and_gradient(batch, config, settings, advantages_BT, entropy_coeff=0.5)
    of_rows = (batch.entropy_BT * batch.mask_BT).sum(1) / batch.mask_BT.sum(1)
    assert (plain - bonus).item() == pytest.approx(0.5 * of_rows.mean().item(), rel=1e-4)

    actor = actor_of(config, use_kl_loss=True, kl_loss_coef=0.5, kl_loss_type="mse")
    data = batch.data(advantages_BT, settings)
    data["ref_log_prob"] = nested(batch.log_probs_BT + 0.2 * batch.mask_BT, batch.lengths)
    penalised, _ = dual_stream_ppo_loss(actor, batch.output(batch.log_probs_BT), data, settings=settings)
    assert (penalised - plain).item() == pytest.approx(0.5 * 0.5 * 0.2**2, rel=1e-3)
