#!/usr/bin/env bash
# Build the documentation's site into docs/_build/html; a broken link or reference fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh
# one thread a process: pages are made in several, and more would fight over the cores
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
python -m sphinx -W --keep-going -q -j auto -b html docs docs/_build/html "$@"
echo "documentation: docs/_build/html/index.html"
