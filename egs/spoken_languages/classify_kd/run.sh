#!/usr/bin/env bash
# Which of twelve languages is spoken? A recipe about a leak: recordings of one source sound alike, so a model that is
# tested on the sources that it learned from seems to know languages. On sources held out it does not.
#   ./run.sh                      both tests of the same models, three seeds
#   ./run.sh --preset random      all recordings split at random: what a table without groups would say
#   ./run.sh --preset smoke       two minutes: does everything work here?
#   ./run.sh --help               stages and options
# It needs apt-get and dpkg (Debian, Ubuntu) to get the recordings.
set -euo pipefail
cd "$(dirname "$0")"
exec ../../../recipes/run.sh --task classification "$@"
