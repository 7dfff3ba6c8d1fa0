#!/usr/bin/env bash
# Qwen2.5-VL-3B on VQA-RAD, one node of 8 GPUs: 8 rollouts + 6 expert trajectories a prompt, as in the paper.
#
#   python data_preprocess/vqa_rad.py --source ARCHIVE --output "$DATA" --expert-ids --val-fraction 0.1
#   medeyes-verl experts script --data "$DATA/train.parquet" --store "$DATA/experts"
#   medeyes-verl doctor --data "$DATA/train.parquet" --recipe qwen2_5_vl_3b,recommended
#   DATA=… bash examples/train_qwen2_5_vl_3b.sh
#
# The scripted experts of a question all score alike. Under the paper's rule, which compares them with each other, each
# has advantage 0; the recipe `recommended` compares them with the policy's own rollouts (docs/experts.md). With experts
# that differ in reward, RECIPE=qwen2_5_vl_3b is the paper's rule: doctor --recipe says whether they do.
# Anything after the script's name goes to main_ppo, such as trainer.n_gpus_per_node=4.
set -euo pipefail

python3 -m verl.trainer.main_ppo "+medeyes=[${RECIPE:-qwen2_5_vl_3b,recommended}]" \
    medeyes.data="${DATA:?folder with train.parquet, val.parquet and experts/}" \
    medeyes.model="${MODEL:-Qwen/Qwen2.5-VL-3B-Instruct}" \
    medeyes.output="${OUTPUT:-outputs/qwen2_5_vl_3b}" \
    trainer.n_gpus_per_node=8 \
    "$@"
