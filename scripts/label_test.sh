#!/usr/bin/env bash
# Start a real MONAI Label server in its own environment (made once) and ask it as viewers do.
#   bash scripts/label_test.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/label_env.sh python -m pip install --quiet --disable-pip-version-check -c constraints-label.txt pytest hypothesis pytest-xdist
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec bash scripts/label_env.sh python -m pytest tests/label tests/components/test_explainer.py -p no:cacheprovider -s "$@"
