#!/usr/bin/env bash
# Start a real MONAI Label server in its own environment (made once) and ask it as viewers do; beside it run the tests of
# what needs torchvision, which that environment has.
#   bash scripts/label_test.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/label_env.sh python -m pip install --quiet --disable-pip-version-check -c constraints-label.txt \
    pytest hypothesis pytest-xdist einops quantus zennit
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec bash scripts/label_env.sh python -m pytest tests/label tests/explain/test_explainer.py tests/lrp/test_networks.py \
    tests/evaluation/heatmaps/test_with_quantus.py -p no:cacheprovider "$@"
