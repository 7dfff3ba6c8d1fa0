#!/usr/bin/env bash
# The paper's run on one node of 8 GPUs: Qwen2.5-VL-3B on VQA-RAD, 8 rollouts + 6 expert trajectories a prompt.
#
#   python data_preprocess/vqa_rad.py --source ARCHIVE --output "$DATA" --expert-ids --val-fraction 0.1
#   medeyes-verl experts script --data "$DATA/train.parquet" --store "$DATA/experts"
#   DATA=… bash examples/train_qwen2_5_vl_3b.sh
#
# Anything after the script's name goes to main_ppo, such as trainer.n_gpus_per_node=4 or
# algorithm.medeyes.off_policy_baseline=on_policy (docs/method.md says when that helps).
set -euo pipefail

python3 -m verl.trainer.main_ppo +medeyes=qwen2_5_vl_3b \
    medeyes.data="${DATA:?folder with train.parquet, val.parquet and experts/}" \
    medeyes.model="${MODEL:-Qwen/Qwen2.5-VL-3B-Instruct}" \
    medeyes.output="${OUTPUT:-outputs/qwen2_5_vl_3b}" \
    trainer.n_gpus_per_node=8 \
    "$@"
