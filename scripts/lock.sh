#!/usr/bin/env bash
# Writes requirements/*.txt: the versions of everything that each installation brings. bash scripts/lock.sh
# Install with them by `pip install -c requirements/gpu.txt -e '.[gpu]'`.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}
compile() { # NAME PYTHON [uv's options]
    local name=$1 python=$2
    shift 2
    "$uv" pip compile --quiet --no-header --no-annotate --no-emit-index-url --python-version "$python" \
        --python-platform x86_64-manylinux_2_28 "$@" pyproject.toml --output-file "requirements/$name.txt"
}
compile core 3.10 --extra dicom --extra demo
compile gpu 3.12 --extra gpu --extra dicom --extra demo
# torch's CPU build lies in an index of its own, so this one is read off the environment that scripts/environment.sh made
.venv/bin/python scripts/lock_environment.py 'medeyes-verl[cpu,dev]' >requirements/cpu.txt
