#!/usr/bin/env bash
# Stage 0: fetch Debian's manual pages in English and German, align them and split them by page.
set -euo pipefail
exec seqkd prepare corpus "$@"
