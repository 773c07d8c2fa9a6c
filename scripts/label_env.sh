#!/usr/bin/env bash
# Make the environment of the MONAI Label server (once), and run a command in it.
#
#   bash scripts/label_env.sh [COMMAND ...]        such as: bash scripts/label_env.sh neuroxai label start bundle cohort
#
# It is an environment of its own: monailabel 0.8.5 needs numpy 1.26 and pydicom 2.
#   NEUROXAI_LABEL_VENV  folder of the environment (default: .venv-label in the repository)
#   NEUROXAI_PYTHON      interpreter that makes it, Python 3.11 or 3.12 (default: python3)
set -euo pipefail

if [ "${1:-}" = -h ] || [ "${1:-}" = --help ]; then sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0; fi
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
environment=${NEUROXAI_LABEL_VENV:-$repository/.venv-label}
expected=$(cat "$repository"/{constraints-label.txt,setup.cfg,pyproject.toml} | sha256sum | cut -d' ' -f1)

if [ "$(cat "$environment/.neuroxai" 2>/dev/null || true)" != "$expected" ]; then
    python=${NEUROXAI_PYTHON:-python3}
    if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))'; then
        echo "error: $("$python" --version) cannot carry MONAI Label, expected 3.11 or 3.12; name one in NEUROXAI_PYTHON" >&2
        exit 2
    fi
    echo "making the environment of MONAI Label in $environment (some minutes, once)" >&2
    [ -x "$environment/bin/python" ] || "$python" -m venv "$environment"
    install=("$environment/bin/python" -m pip install --quiet --disable-pip-version-check -c "$repository/constraints-label.txt")
    # torch and torchvision first and together: their builds must match
    "${install[@]}" torch torchvision
    "${install[@]}" monailabel -e "$repository[train,prepare,brain]"
    echo "$expected" > "$environment/.neuroxai"
fi
export PATH="$environment/bin:$PATH" HF_HUB_OFFLINE=1 MPLBACKEND=Agg
if [ $# -gt 0 ]; then exec "$@"; fi
echo "environment of MONAI Label: $environment"
