#!/usr/bin/env bash
# The stage "corpus": LibriSpeech, from where local/db.sh says or downloaded, as Kaldi data directories.
set -euo pipefail
# shellcheck source=local/db.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../../local/db.sh"
exec seqkd prepare corpus "$@"
