#!/usr/bin/env bash
# Distil a CTC speech recogniser on made-up speech: phrases spoken by espeak-ng in many voices, in noise.
#   ./run.sh                      under 18 minutes on two cores: teacher, student, KD, Cons-KD: default/RESULTS.md
#   ./run.sh --preset smoke       two minutes: does everything work here?
#   ./run.sh --preset study       every system, six seeds (the table in RESULTS.md is of an earlier version, with three)
#   ./run.sh --help               stages and options
set -euo pipefail
cd "$(dirname "$0")"
exec ../../../recipes/run.sh --task asr "$@"
