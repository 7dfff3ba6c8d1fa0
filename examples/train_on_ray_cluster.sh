#!/usr/bin/env bash
# The same on several nodes. Start Ray on each, with this package installed in every node's environment and DATA, MODEL
# and OUTPUT on storage that all of them see:
#
#   first node:   ray start --head --port=6379
#   the others:   ray start --address=FIRST:6379
#   first node:   NODES=2 DATA=… bash examples/train_on_ray_cluster.sh
#
# Workers of a standing cluster have the environment of `ray start`, not of this shell: a variable that they need is
# given as +ray_kwargs.ray_init.runtime_env.env_vars.NAME=VALUE. On each node, before the run:
#
#   medeyes-verl doctor --data "$DATA/train.parquet" --recipe qwen2_5_vl_3b,recommended
#
# `recommended` is there because VQA-RAD's scripted experts all score alike: examples/train_qwen2_5_vl_3b.sh.
set -euo pipefail

python3 -m verl.trainer.main_ppo "+medeyes=[${RECIPE:-qwen2_5_vl_3b,recommended}]" \
    medeyes.data="${DATA:?folder with train.parquet, val.parquet and experts/}" \
    medeyes.model="${MODEL:-Qwen/Qwen2.5-VL-3B-Instruct}" \
    medeyes.output="${OUTPUT:-outputs/cluster}" \
    trainer.nnodes="${NODES:?how many nodes}" \
    trainer.n_gpus_per_node=8 \
    +ray_kwargs.ray_init.address=auto \
    "$@"
