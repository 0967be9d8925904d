#!/usr/bin/env bash
# Train small classifiers of recorded Mandarin syllables (Debian's gcin-voice, two speakers) by initial, final or tone:
# the check on recorded speech of what egs/espeak_keywords shows on made-up speech.
#   ./run.sh                      the largest effects, four folds by syllable, three seeds
#   ./run.sh --preset smoke       two minutes: does everything work here?
#   ./run.sh --help               stages and options
# It needs apt-get and dpkg (Debian, Ubuntu) to get the recordings, or the package's file: corpus.package=FILE.
set -euo pipefail
cd "$(dirname "$0")"
exec ../../../recipes/run.sh --task classification "$@"
