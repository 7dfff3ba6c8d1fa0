"""Dual-stream advantages and loss as plain functions, in any trainer: ``python examples/estimator_as_a_function.py``.

Two prompts. The policy fails at the first and has mixed results at the second; two experts show the first how.
"""

import torch

from medeyes_verl.algorithm.advantage import dual_stream_advantage
from medeyes_verl.algorithm.policy_loss import dual_stream_terms
from medeyes_verl.algorithm.settings import DualStreamSettings

rewards_B = torch.tensor([0.2, 0.2, 1.0, 1.0, 0.9, 0.2])
prompts_B = ["first", "first", "first", "first", "second", "second"]
experts_B = torch.tensor([False, False, True, True, False, False])

for baseline in ("stream", "on_policy", "pooled"):
    advantages_B = dual_stream_advantage(rewards_B, prompts_B, experts_B, baseline=baseline)
    print(f"{baseline:>10}: {[round(advantage, 2) for advantage in advantages_B.tolist()]}")
# stream:    the experts agree, so under the paper's rule they teach nothing (silent experts)
# on_policy: the experts are compared with the policy that failed, and teach

log_probs_BT = torch.log(torch.full((6, 3), 0.1)).requires_grad_()
terms = dual_stream_terms(
    log_probs_BT,
    old_log_probs_BT=log_probs_BT.detach(),
    advantages_BT=dual_stream_advantage(rewards_B, prompts_B, experts_B, baseline="on_policy")[:, None].expand(6, 3),
    mask_BT=torch.ones(6, 3, dtype=torch.bool),
    expert_B=experts_B,
    settings=DualStreamSettings(off_policy_baseline="on_policy", off_policy_shaping="luffy"),
)
terms.loss_BT.mean(dim=1).mean().backward()
for name, (total, count) in terms.diagnostics.items():
    if count:
        print(f"{name}: {(total / count).item():.3f}")
