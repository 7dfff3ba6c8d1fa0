#!/usr/bin/env bash
# Demonstrations in a text run of your own: stock single-turn loop, your reward function, your table with one more column.
# A cell of it is the text of a good answer, or messages, or token ids; several a row if you have them
# (docs/demonstrations.md). On a CPU, with a tiny model: VERL_PLATFORM=cpu RECIPE='[cpu_tiny,demonstrations]'.
set -euo pipefail

python3 -m verl.trainer.main_ppo "+medeyes=${RECIPE:-demonstrations}" \
    data.train_files="${DATA:?folder with train.parquet and val.parquet}/train.parquet" \
    data.val_files="$DATA/val.parquet" \
    data.train_batch_size=64 \
    actor_rollout_ref.model.path="${MODEL:-Qwen/Qwen2.5-0.5B-Instruct}" \
    actor_rollout_ref.actor.ppo_mini_batch_size=64 \
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=8 \
    actor_rollout_ref.rollout.name=vllm \
    actor_rollout_ref.rollout.n=8 \
    actor_rollout_ref.rollout.custom.medeyes.n_expert=1 \
    actor_rollout_ref.rollout.custom.medeyes.demonstrations.column=demonstrations \
    actor_rollout_ref.rollout.tensor_model_parallel_size=1 \
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=8 \
    reward.custom_reward_function.path="${REWARD:?a Python file with compute_score}" \
    'trainer.logger=[console]' trainer.n_gpus_per_node=1 trainer.total_epochs=1 \
    "$@"
