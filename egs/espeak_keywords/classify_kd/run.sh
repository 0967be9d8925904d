#!/usr/bin/env bash
# Train small classifiers of spoken command words, made up by espeak-ng; needs nothing but pip.
#   ./run.sh                      every method beside its control, one seed: the table in RESULTS.md
#   ./run.sh --preset smoke       two minutes: does everything work here?
#   ./run.sh --preset study       every method and control, five seeds; sweeps goes on from it
#   ./run.sh --preset dense       a phone a frame; subset, subset_5, subset_50: students of some of the classes
#   ./run.sh --help               stages and options
set -euo pipefail
cd "$(dirname "$0")"
exec ../../../recipes/run.sh --task classification "$@"
