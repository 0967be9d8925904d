#!/usr/bin/env bash
# Train translators from English to German on manual pages, with adaptive label smoothing and what it is compared with.
#   ./run.sh                      five systems, three seeds, an hour and a half on two cores: the table in RESULTS.md
#   ./run.sh --preset smoke       two minutes: does everything work here?
#   ./run.sh --help               stages and options
# The pages come from Debian's packages manpages, manpages-dev, manpages-de and manpages-de-dev, through apt-get.
set -euo pipefail
cd "$(dirname "$0")"
exec ../../../recipes/run.sh --task translation "$@"
