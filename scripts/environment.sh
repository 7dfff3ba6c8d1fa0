# Sourced by quickstart.sh and test.sh: makes, or finds again, an environment that can run everything.
# Leaves its interpreter in $PYTHON_BIN. Uses $MEDEYES_VENV (default .venv) and $PYTHON (default python3).

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${MEDEYES_VENV:-$ROOT/.venv}
PYTHON_BIN=$VENV/bin/python

say() { printf '\n== %s\n' "$*"; }

fail() { # fail STEP REASON WHAT-TO-DO
    printf '\nfailed: %s\n  why: %s\n  how to go on: %s\n' "$1" "$2" "$3" >&2
    exit 1
}

has_nvidia_gpu() { command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; }

# pip's own output is thousands of lines: a line for each package that it looks at is progress enough
pip_install() {
    "$PYTHON_BIN" -m pip install --disable-pip-version-check --progress-bar off "$@" |
        sed -un -e 's/^Collecting \([^ ]*\).*/  \1/p' -e 's/^Installing collected packages.*/  unpacking …/p'
    return "${PIPESTATUS[0]}"
}

# The CPU build of torch, from the indexes that pip is configured with; else from PyTorch's own CPU index, whose
# address the installer uv knows.
install_cpu_torch() {
    pip_install 'torch==2.13.0+cpu' 2>"$VENV/cpu-torch.log" && return
    echo 'the configured indexes have no CPU build of torch; taking it from PyTorch'
    pip_install uv && "$PYTHON_BIN" -m uv pip install --quiet --python "$PYTHON_BIN" --torch-backend=cpu \
        'torch==2.13.0' torchvision
}

install_everything() {
    local python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' ||
        fail 'environment' "$python is not Python 3.10 to 3.12" 'name one: PYTHON=python3.11 bash scripts/quickstart.sh'
    "$python" -m venv "$VENV" || fail 'environment' "no virtual environment at $VENV" \
        "install Python's venv module, or name another folder in MEDEYES_VENV"
    if has_nvidia_gpu; then
        pip_install 'torch==2.11.0' wheel packaging ninja || return 1
        # flash-attn compiles against the torch that is already there
        pip_install --no-build-isolation -e "$ROOT[gpu,dev]" || return 1
    else
        install_cpu_torch && pip_install -e "$ROOT[cpu,dev]" || return 1
        "$PYTHON_BIN" -m medeyes_verl.environment || return 1
    fi
}

prepare_environment() {
    # what was installed is what setup.py asks for now; an interrupted installation leaves no such mark
    local wanted mark=$VENV/medeyes-verl-installed
    wanted=$(cksum <"$ROOT/setup.py")
    if [ "$(cat "$mark" 2>/dev/null)" = "$wanted $ROOT" ]; then
        say "environment: $VENV (there already)"
    else
        say "environment: installing into $VENV (about 4 GB; a few minutes)"
        install_everything || fail 'environment' 'the installation stopped (see above)' \
            'mend it, for instance the network, and start again: what is downloaded is kept'
        echo "$wanted $ROOT" >"$mark"
    fi
    if has_nvidia_gpu; then
        export MEDEYES_RECIPE=gpu_tiny
    else
        export MEDEYES_RECIPE=cpu_tiny VERL_PLATFORM=cpu
    fi
    # nothing here needs a hub, and nothing is reported to anybody
    export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false RAY_USAGE_STATS_ENABLED=0 VLLM_NO_USAGE_STATS=1
}
