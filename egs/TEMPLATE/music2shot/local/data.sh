#!/usr/bin/env bash
# Stage 0: read the songs and shot lists that conf/preset or the command line name, check them and deal them out.
set -euo pipefail
exec seqkd prepare corpus "$@"
