#!/usr/bin/env bash
# Distil a CTC speech recogniser of phonemes: phrases of a grammar, spoken by espeak-ng in many voices, in noise.
#   ./run.sh                      about half an hour on two cores: teacher, students, controls of equal cost
#   ./run.sh --preset smoke       two minutes: does everything work here?
#   ./run.sh --preset study       arms that begin with one shared student, six seeds
#   ./run.sh --preset study_long  the same, four times as long
#   ./run.sh --help               stages and options
set -euo pipefail
cd "$(dirname "$0")"
exec ../../../recipes/run.sh --task asr "$@"
