#!/usr/bin/env bash
# The paper's ablation without expert trajectories: the same episode, reward and clip, 8 rollouts, plain GRPO.
# Against a run of +medeyes=qwen2_5_vl_3b the only thing that differs is the expert stream. Against
# examples/train_qwen2_5_vl_3b.sh the learning-rate schedule of `recommended` differs too, so that is added here:
# RECIPE=on_policy_only leaves it out. Experts are not needed:
#
#   medeyes-verl doctor --data "$DATA/train.parquet" --recipe on_policy_only,recommended
set -euo pipefail

python3 -m verl.trainer.main_ppo "+medeyes=[${RECIPE:-on_policy_only,recommended}]" \
    medeyes.data="${DATA:?folder with train.parquet and val.parquet}" \
    medeyes.output="${OUTPUT:-outputs/on_policy_only}" \
    "$@"
