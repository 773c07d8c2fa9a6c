#!/usr/bin/env bash
# Start a real MONAI Label server in its own environment (made once) and ask it as viewers do; beside it run the tests of
# what needs torchvision, which that environment has.
#   bash scripts/label_test.sh [pytest arguments]
#   bash scripts/label_test.sh --fuzz SECONDS      # random requests to every address of the server, by schemathesis
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tests=(tests/label tests/explain/test_explainer.py tests/lrp/test_networks.py
    tests/evaluation/heatmaps/test_with_quantus.py)
packages=(pytest hypothesis pytest-xdist einops quantus zennit slicer-core)
if [ "${1:-}" = --fuzz ]; then
    export NEUROXAI_FUZZ_SECONDS=${2:?--fuzz takes seconds, such as: bash scripts/label_test.sh --fuzz 300}
    shift 2
    tests=(tests/label/test_fuzz.py -s)
    packages+=(schemathesis)
fi
bash scripts/label_env.sh python -m pip install --quiet --disable-pip-version-check -c constraints-label.txt "${packages[@]}"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec bash scripts/label_env.sh python -m pytest "${tests[@]}" -p no:cacheprovider "$@"
