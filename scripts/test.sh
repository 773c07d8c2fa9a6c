#!/usr/bin/env bash
# Make the environment and run the checks: lint, types, import contracts, tests.
#   bash scripts/test.sh [--full] [pytest arguments]
# Without --full: the unmarked tests and those marked integration (10 minutes on two cores). With it also those marked
# full, with many examples for property tests, and a MONAI Label server (scripts/label_test.sh).
# Real scans are looked for in $NEUROXAI_TEST_DATA, else in ../shared/data; without them those tests skip.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh

full=
tiers=(-m "not full and not label")
if [ "${1:-}" = --full ]; then
    full=yes
    tiers=(-m "not label" --hypothesis-profile=full)
    shift
fi

ruff check .
ruff format --check .
mypy
lint-imports
# one thread a worker: more would fight over the cores
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
python -m pytest -n "${NEUROXAI_TEST_WORKERS:-auto}" --dist loadgroup "${tiers[@]}" "$@"
if [ -n "$full" ] && [ $# = 0 ]; then bash scripts/label_test.sh; fi
