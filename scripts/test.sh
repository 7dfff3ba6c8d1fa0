#!/usr/bin/env bash
# Makes or reuses the environment and runs the tests: bash scripts/test.sh [pytest arguments]
# Without arguments: style, types, layering, and every test. `-m "not ray and not e2e"` leaves out the long ones.
set -uo pipefail
source "$(dirname "$0")/environment.sh"
cd "$ROOT"
prepare_environment
if [ $# -eq 0 ]; then
    say 'style, types, layering'
    "$PYTHON_BIN" -m ruff check . && "$PYTHON_BIN" -m ruff format --check . || fail 'style' 'see above' 'ruff check --fix; ruff format'
    "$PYTHON_BIN" -m mypy || fail 'types' 'see above' 'mend the types'
    "$VENV/bin/lint-imports" || fail 'layering' 'see above' 'see the contracts in pyproject.toml'
fi
say 'tests'
OMP_NUM_THREADS=1 exec "$PYTHON_BIN" -m pytest "$@"
