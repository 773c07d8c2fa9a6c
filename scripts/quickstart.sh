#!/usr/bin/env bash
# From nothing to an explained, scored, held-out scan: make the environment, then run `neuroxai quickstart`, which has the options:
#
#   bash scripts/quickstart.sh [--out DIR] [--subjects N] [--spacing MM] [--seed S] [--cohort DIR] [--training-seed S]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec neuroxai quickstart "$@"
