#!/usr/bin/env bash
# Stage 0: espeak-ng speaks the corpus that conf/preset describes.
set -euo pipefail
exec seqkd prepare corpus "$@"
