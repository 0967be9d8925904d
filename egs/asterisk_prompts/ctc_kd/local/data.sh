#!/usr/bin/env bash
# Stage 0: fetch the prompts (Debian's packages, or their makers' archive) and split them as conf/preset says.
set -euo pipefail
exec seqkd prepare corpus "$@"
