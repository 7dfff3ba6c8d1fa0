#!/usr/bin/env bash
# Our estimator and loss in a text-only run that is not ours: veRL's own trainer, agent loop, reward and data (GSM8K as
# veRL's examples prepare it). Rows without a stream label are all on-policy, so this is GRPO to the last digit. To mix
# in rows of another source, label their prompt ids: medeyes_verl/plugin/streams.py; to use the equations without
# veRL: examples/estimator_as_a_function.py.
set -euo pipefail

python3 -m verl.trainer.main_ppo \
    algorithm.adv_estimator=medeyes_dual_stream \
    actor_rollout_ref.actor.policy_loss.loss_mode=medeyes_dual_stream \
    actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean \
    data.train_files="${DATA:?folder with train.parquet and test.parquet of GSM8K}/train.parquet" \
    data.val_files="$DATA/test.parquet" \
    data.train_batch_size=256 \
    actor_rollout_ref.model.path="${MODEL:-Qwen/Qwen2.5-0.5B-Instruct}" \
    actor_rollout_ref.actor.ppo_mini_batch_size=256 \
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=8 \
    actor_rollout_ref.rollout.name=vllm \
    actor_rollout_ref.rollout.n=8 \
    actor_rollout_ref.rollout.tensor_model_parallel_size=1 \
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=8 \
    'trainer.logger=[console]' \
    trainer.n_gpus_per_node=1 \
    trainer.total_epochs=1 \
    "$@"
