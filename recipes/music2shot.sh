#!/usr/bin/env bash
# For recipes written when each task had a driver of its own: run.sh --task shots.
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/run.sh" --task shots "$@"
