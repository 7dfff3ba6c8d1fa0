#!/usr/bin/env bash
# Demonstrations in a run of veRL's ToolAgentLoop: the assistant's turns come from the table's column, the tools answer them
# for real, and their answers are masked, as in the policy's own rollouts (docs/demonstrations.md).
set -euo pipefail

python3 -m verl.trainer.main_ppo "+medeyes=${RECIPE:-demonstrations}" \
    data.train_files="${DATA:?folder with train.parquet and val.parquet}/train.parquet" \
    data.val_files="$DATA/val.parquet" \
    data.train_batch_size=64 \
    data.max_response_length=2048 \
    actor_rollout_ref.model.path="${MODEL:-Qwen/Qwen2.5-3B-Instruct}" \
    actor_rollout_ref.actor.ppo_mini_batch_size=64 \
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=4 \
    actor_rollout_ref.rollout.name=vllm \
    actor_rollout_ref.rollout.n=8 \
    actor_rollout_ref.rollout.custom.medeyes.n_expert=2 \
    actor_rollout_ref.rollout.custom.medeyes.demonstrations.loop=tool_agent \
    actor_rollout_ref.rollout.multi_turn.enable=true \
    actor_rollout_ref.rollout.multi_turn.tool_config_path="${TOOLS:?a tool configuration of veRL}" \
    actor_rollout_ref.rollout.tensor_model_parallel_size=1 \
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=4 \
    reward.custom_reward_function.path="${REWARD:?a Python file with compute_score}" \
    'trainer.logger=[console]' trainer.n_gpus_per_node=1 trainer.total_epochs=1 \
    "$@"
