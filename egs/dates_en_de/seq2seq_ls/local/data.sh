#!/usr/bin/env bash
# Stage 0: make the phrases that conf/preset describes, and draw their translations.
set -euo pipefail
exec seqkd prepare corpus "$@"
