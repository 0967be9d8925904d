#!/usr/bin/env bash
# Stage 0: read the recordings that conf/preset or the command line name, check them and split them.
set -euo pipefail
exec seqkd prepare corpus "$@"
