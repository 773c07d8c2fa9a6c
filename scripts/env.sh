#!/usr/bin/env bash
# Make the project's environment (once) and put it on PATH. Sourced by the other scripts.
#   source scripts/env.sh           all that tests and documentation need
#   source scripts/env.sh --core    what simulates, trains, explains and reports alone: no tests, no registration, no DICOM
#   NEUROXAI_VENV    folder of the environment (default: .venv in the repository)
#   NEUROXAI_PYTHON  interpreter that makes it (default: python3)
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
environment=${NEUROXAI_VENV:-$repository/.venv}
extras=dev,train,verify,prepare,brain,cluster,search,dicom,docs
# a changed pin or requirement makes the environment anew
expected=$(cat "$repository"/{constraints.txt,setup.cfg,pyproject.toml} | sha256sum | cut -d' ' -f1)
made=$(cat "$environment/.neuroxai" 2>/dev/null || true)
if [ "${1:-}" = --core ]; then
    # a whole environment will do
    if [ "$made" != "$expected" ]; then extras=train expected="$expected core"; fi
fi

if [ "$made" != "$expected" ]; then
    echo "making the environment in $environment (a few minutes, once)" >&2
    [ -x "$environment/bin/python" ] || "${NEUROXAI_PYTHON:-python3}" -m venv "$environment"
    torch=$(grep '^torch==' "$repository/constraints.txt")
    # torch first and alone, so that no other package draws in another build
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "$torch"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check \
        -c "$repository/constraints.txt" -e "$repository[$extras]"
    echo "$expected" > "$environment/.neuroxai"
fi
export PATH="$environment/bin:$PATH"
# the scripts look up nothing on the network
export HF_HUB_OFFLINE=1 MPLBACKEND=Agg
