#!/usr/bin/env bash
# Which of twelve languages is spoken? A recipe about a leak: recordings of one source sound alike, so a model that is
# tested on the sources that it learned from seems to know languages. With the source held out it does not.
#   ./run.sh                      clips of every source in all parts (random split): looks good
#   ./run.sh --preset held_out    the source held out: what the same models know of languages
#   ./run.sh --preset smoke       two minutes: does everything work here?
#   ./run.sh --help               stages and options
# It needs apt-get and dpkg (Debian, Ubuntu) to get the recordings.
set -euo pipefail
cd "$(dirname "$0")"
exec ../../../recipes/run.sh --task classification "$@"
