#!/usr/bin/env bash
# Our estimator and loss in a text-only run that is not ours: veRL's own agent loop, reward and data (GSM8K as veRL's
# examples prepare it). The trainer mode is veRL's sync trainer, which also tells estimator and loss the stream of each
# row; under a trainer that does not, both refuse. Rows are the policy's own unless the agent loop sets
# extra_fields["stream"] = "expert". Without such rows the advantages are those of veRL's grpo within float32 rounding
# (5e-7 in 200 random batches; tests/plugin/test_objective.py holds 2e-6), and exactly 0 where all of a prompt are equal.
# Your own loop and demonstrations: docs/own_runs.md. The equations without veRL: examples/estimator_as_a_function.py.
set -euo pipefail

python3 -m verl.trainer.main_ppo \
    trainer.v1.trainer_mode=medeyes_sync \
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
