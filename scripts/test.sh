#!/usr/bin/env bash
# Make the environment and run every check: lint, types, import contracts, tests.
#   bash scripts/test.sh [pytest arguments]
# Real scans are looked for in $NEUROXAI_TEST_DATA, else in ../shared/data; without them those tests skip.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh

ruff check .
ruff format --check .
mypy
lint-imports
# one thread a worker: more would fight over the cores
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
python -m pytest -n "${NEUROXAI_TEST_WORKERS:-auto}" --dist loadgroup "$@"
