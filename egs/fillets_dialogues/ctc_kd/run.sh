#!/usr/bin/env bash
# Distil a CTC speech recogniser on acted speech: three hours of dialogues of a game, in Czech and Dutch. The teacher
# learns both languages, students Czech.
#   ./run.sh                      teacher, student, KD, KD with unlabelled audio; three seeds
#   ./run.sh --preset smoke       two minutes: does everything work here?
#   ./run.sh --help               stages and options
set -euo pipefail
cd "$(dirname "$0")"
exec ../../../recipes/run.sh --task asr "$@"
