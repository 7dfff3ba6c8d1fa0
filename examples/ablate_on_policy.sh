#!/usr/bin/env bash
# The paper's ablation without expert trajectories: the same game, reward and clip, 8 rollouts, plain GRPO.
# Without streams the estimator is GRPO, so the only thing that differs from the full run is the expert stream.
set -euo pipefail

python3 -m verl.trainer.main_ppo +medeyes=on_policy_only \
    medeyes.data="${DATA:?folder with train.parquet and val.parquet}" \
    medeyes.output="${OUTPUT:-outputs/on_policy_only}" \
    "$@"
