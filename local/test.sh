#!/usr/bin/env bash
# Set up, check style, run the unit tests, then both recipes' smoke presets. Arguments go to pytest instead:
#   ./local/test.sh tests/losses -k cons_kd
set -euo pipefail
cd "$(dirname "$0")/.."
. local/setup.sh
if [ $# -gt 0 ]; then exec pytest "$@"; fi
ruff check .
ruff format --check .
git ls-files -co --exclude-standard '*.sh' .ci/run | xargs shellcheck -x
pytest -m "not recipe" -n 2 --dist loadfile
pytest -m recipe --durations=5
