#!/usr/bin/env bash
# Set up, check style and which room imports which, then run all tests, the recipes' smoke presets among them.
# Arguments go to pytest instead:
#   ./local/test.sh tests/losses -k cons_kd
set -euo pipefail
cd "$(dirname "$0")/.."
. local/setup.sh
if [ $# -gt 0 ]; then exec pytest "$@"; fi
ruff check .
ruff format --check .
lint-imports
git ls-files -co --exclude-standard '*.sh' .ci/run | xargs shellcheck -x
# As many at once as there are cores; which share a process, and which begin, stands in tests/conftest.py.
exec pytest -n auto --durations=15
