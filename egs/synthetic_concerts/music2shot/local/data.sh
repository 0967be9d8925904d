#!/usr/bin/env bash
# Stage 0: write the songs that conf/preset describes, and let the director cut them.
set -euo pipefail
exec seqkd prepare corpus "$@"
