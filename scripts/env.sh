#!/usr/bin/env bash
# Make the project's environment (once) and put it on PATH. Sourced by the other scripts.
#   NEUROXAI_VENV    folder of the environment (default: .venv in the repository)
#   NEUROXAI_PYTHON  interpreter that makes it (default: python3)
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
environment=${NEUROXAI_VENV:-$repository/.venv}
# a changed pin or requirement makes the environment anew
expected=$(cat "$repository"/{constraints.txt,setup.cfg,pyproject.toml} | sha256sum | cut -d' ' -f1)

if [ "$(cat "$environment/.neuroxai" 2>/dev/null || true)" != "$expected" ]; then
    echo "making the environment in $environment (a few minutes, once)" >&2
    [ -x "$environment/bin/python" ] || "${NEUROXAI_PYTHON:-python3}" -m venv "$environment"
    torch=$(grep '^torch==' "$repository/constraints.txt")
    # torch first and alone, so that no other package draws in another build
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "$torch"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check \
        -c "$repository/constraints.txt" -e "$repository[dev,prepare,brain,cluster,search,dicom,docs]"
    echo "$expected" > "$environment/.neuroxai"
fi
export PATH="$environment/bin:$PATH"
# the scripts look up nothing on the network
export HF_HUB_OFFLINE=1 MPLBACKEND=Agg
