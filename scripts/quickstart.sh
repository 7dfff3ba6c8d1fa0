#!/usr/bin/env bash
# From nothing to a trained policy: environment, data, experts, a tiny policy, veRL's main_ppo, a report, a summary.
#
#   bash scripts/quickstart.sh                                         the phantom benchmark
#   bash scripts/quickstart.sh --dataset vqa-rad --source DIR          the real VQA-RAD archive
#
# Options: --output DIR (default outputs/quickstart-DATASET), --seed N (0) of data, experts, warm-up and training,
# --steps N of training (20), --warmup-steps N (600; vqa-rad: 100000) and --warmup-minutes M (8; vqa-rad: 2.5), whichever
# ends first; phantom only: --train N training questions (1000) and --val N validation questions (300).
# Each step is kept; started again, it resumes where it stopped. With an NVIDIA GPU it uses it (recipe gpu_tiny).
#
# What the phantom run shows: an image has one lesion, and only a close crop tells of which of four kinds it is. The
# warm-up teaches a policy how to gaze, but also the habit of answering "unknown" without a gaze. main_ppo then trains it on
# its own rollouts and on experts that gaze; before and after, it answers questions that were held out from both.
set -uo pipefail
source "$(dirname "$0")/environment.sh"

dataset=phantom source='' output='' seed=0 steps=20 warmup_steps='' minutes='' train=1000 val=300
while [ $# -gt 0 ]; do
    case $1 in
        --dataset) dataset=$2 ;;
        --source) source=$2 ;;
        --output) output=$2 ;;
        --seed) seed=$2 ;;
        --steps) steps=$2 ;;
        --warmup-steps) warmup_steps=$2 ;;
        --warmup-minutes) minutes=$2 ;;
        --train) train=$2 ;;
        --val) val=$2 ;;
        *) fail 'options' "unknown option $1" "see the first lines of $0" ;;
    esac
    shift 2 || fail 'options' "$1 needs a value" "see the first lines of $0"
done
case $dataset in
    phantom)
        # steps, not minutes, so that the policy does not depend on the machine's speed
        warmup_steps=${warmup_steps:-600} minutes=${minutes:-8}
        # as in the ablations (docs/results.md)
        training=(actor_rollout_ref.actor.optim.lr=3e-4)
        # the habit of giving up: that one gazes weighs little, where one gazes does not
        habits=(--gives-up 0.3 --gazing 0.25)
        ;;
    vqa-rad)
        [ -d "$source" ] || fail 'options' 'vqa-rad needs --source DIR' "name the archive's folder"
        warmup_steps=${warmup_steps:-100000} minutes=${minutes:-2.5} training=() habits=()
        ;;
    *) fail 'options' "unknown dataset $dataset" 'use phantom or vqa-rad' ;;
esac
[ -z "$source" ] || source=$(cd "$source" && pwd)
cd "$ROOT"
output=${output:-outputs/quickstart-$dataset}
mkdir -p "$output/logs"
output=$(cd "$output" && pwd)
data=$output/data model=$output/tiny_policy
prepare_environment

step() { # step NAME COMMAND…: run it and keep what it says in a log
    local name=$1 log
    shift
    [ ! -t 1 ] || export FORCE_COLOR=1 # progress bars move, although what they write goes through tee
    log=$output/logs/$name.log
    say "$name"
    "$@" 2>&1 | tee "$log"
    [ "${PIPESTATUS[0]}" -eq 0 ] || fail "$name" "see $log" 'fix it and start again: earlier steps are kept'
}

# files that a run leaves in shared memory, so that the ones this run leaves can be told from others'
shared_memory() { find /dev/shm -maxdepth 1 \( -name 'psm_*' -o -name 'sem.mp-*' -o -name 'verl_weights_*' \) 2>/dev/null | sort; }

train_policy() {
    local before status
    before=$(shared_memory)
    export VERL_FILE_LOGGER_PATH=$output/logs/metrics-$(date +%Y%m%dT%H%M%S).jsonl
    export VLLM_LOGGING_LEVEL=WARNING RAY_DEDUP_LOGS=0 HYDRA_FULL_ERROR=1
    say "training: $steps steps of veRL's main_ppo (the first minutes load the libraries)"
    # a failing weight update leaves its sender waiting for ever (hence the limit)
    timeout --signal=INT --kill-after=60 3600 "$PYTHON_BIN" -m verl.trainer.main_ppo "+medeyes=[$MEDEYES_RECIPE,recommended]" \
        "medeyes.data=$data" "medeyes.model=$model" "medeyes.output=$output" \
        "trainer.experiment_name=quickstart-$dataset" "trainer.total_training_steps=$steps" \
        "trainer.test_freq=$steps" trainer.save_freq=10 trainer.max_actor_ckpt_to_keep=2 \
        "data.seed=$seed" "actor_rollout_ref.rollout.seed=$seed" "actor_rollout_ref.actor.data_loader_seed=$seed" \
        "hydra.run.dir=$output/logs/hydra" ${training[@]+"${training[@]}"} 2>&1 | "$PYTHON_BIN" -m medeyes_verl.cli watch - --log "$output/logs/training.log"
    status=${PIPESTATUS[0]}
    comm -13 <(echo "$before") <(shared_memory) | xargs -r rm -f
    [ "$status" -eq 0 ] || fail 'training' "main_ppo ended with $status, see $output/logs/training.log" \
        'fix it and start again: it resumes from the last checkpoint'
}

if [ "$dataset" = phantom ]; then
    step data "$PYTHON_BIN" data_preprocess/phantom.py --output "$data" --difficulty primer --seed "$seed" \
        --train "$train" --val "$val" --test 100
    # GRN and CVS over the marked regions
    step experts "$PYTHON_BIN" -m medeyes_verl.cli experts build --preset tiny --seed "$seed" \
        --data "$data/train.parquet" --store "$data/experts"
else
    step data "$PYTHON_BIN" data_preprocess/vqa_rad.py --source "$source" --output "$data" --expert-ids \
        --val-fraction 0.06 --seed "$seed"
    # nothing is marked in VQA-RAD: experts that show the episode and the answer, and claim no finding
    step experts "$PYTHON_BIN" -m medeyes_verl.cli experts script --preset tiny \
        --data "$data/train.parquet" --store "$data/experts" --seed "$seed"
fi
step tiny_policy "$PYTHON_BIN" -m medeyes_verl.cli tiny-policy --data "$data/train.parquet" --experts "$data/experts" \
    --val "$data/val.parquet" --output "$model" --steps "$warmup_steps" --minutes "$minutes" --seed "$seed" \
    ${habits[@]+"${habits[@]}"}
finished=$output/checkpoints/latest_checkpointed_iteration.txt
if [ "$(cat "$finished" 2>/dev/null)" = "$steps" ]; then
    say "training: $steps steps are done already ($output/checkpoints)"
else
    train_policy
fi
step report "$PYTHON_BIN" -m medeyes_verl.cli report "$output"
echo "report: $output/report.html   watch it gaze: $VENV/bin/medeyes-verl demo $output"
step summary "$PYTHON_BIN" scripts/summarise_run.py "$output"
echo "quickstart: ok"
