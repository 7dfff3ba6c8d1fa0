#!/usr/bin/env bash
# Makes or reuses the environment and runs the tests: bash scripts/test.sh [pytest arguments]
# Without arguments: style, types, layering, requirements, the package, and every test.
# `-m "not ray and not e2e"` leaves out the long ones.
set -uo pipefail
source "$(dirname "$0")/environment.sh"
cd "$ROOT"
prepare_environment
mkdir -p outputs
if [ $# -eq 0 ]; then
    say 'style, types, layering, requirements, package'
    "$PYTHON_BIN" -m ruff check . && "$PYTHON_BIN" -m ruff format --check . || fail 'style' 'see above' 'ruff check --fix; ruff format'
    "$PYTHON_BIN" -m mypy || fail 'types' 'see above' 'fix the types'
    "$VENV/bin/lint-imports" || fail 'layering' 'see above' 'see the contracts in pyproject.toml'
    "$PYTHON_BIN" -m deptry . || fail 'requirements' 'see above' \
        'declare in pyproject.toml what is imported, and remove what is not'
    rm -rf outputs/dist
    { "$PYTHON_BIN" -m build --outdir outputs/dist . >outputs/build.log 2>&1 &&
        "$PYTHON_BIN" -m twine check --strict outputs/dist/*; } || fail 'package' 'see above and outputs/build.log' \
        'fix pyproject.toml, setup.py or README.md'
fi
export OMP_NUM_THREADS=1
if [ $# -gt 0 ]; then
    say 'tests'
    exec "$PYTHON_BIN" -m pytest "$@"
fi
say 'tests that take seconds, side by side'
"$PYTHON_BIN" -m pytest -n 2 --dist loadfile --durations 10 -m 'not ray and not e2e'
quick=$?
say 'tests that start Ray, vLLM or whole runs, one after another'
"$PYTHON_BIN" -m pytest --durations 25 -m 'ray or e2e'
slow=$?
[ "$quick" -eq 0 ] && [ "$slow" -eq 0 ] || fail 'tests' 'see above' 'fix them; bash scripts/test.sh PYTEST-ARGUMENTS runs a part'
