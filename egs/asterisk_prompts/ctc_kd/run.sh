#!/usr/bin/env bash
# Distil a CTC speech recogniser on recorded human speech: the 25 minutes of Asterisk's telephone prompts.
#   ./run.sh                      teacher, student, KD, Cons-KD: the table in RESULTS.md
#   ./run.sh --preset smoke       two minutes: does everything work here?
#   ./run.sh --preset study       every system, three seeds
#   ./run.sh --preset whisper     Whisper as the teacher: whisper/RESULTS.md
#   ./run.sh --help               stages and options
set -euo pipefail
cd "$(dirname "$0")"
exec ../../../recipes/run.sh --task asr "$@"
