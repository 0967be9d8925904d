#!/usr/bin/env bash
# Distil a large public CTC model into small Conformers on LibriSpeech. The corpus is taken from where local/db.sh of
# this repository or the environment's LIBRISPEECH says, or downloaded (8 GB for 100 h, 62 GB for 960 h; what broke
# off goes on). Needs a GPU: RESULTS.md says what for.
#   ./run.sh --ngpu 1                              100 h, students of 10 M parameters
#   ./run.sh --ngpu 1 model@student.model=conformer_5m --exp exp/5m      of 5 M (or conformer_30m)
#   ./run.sh --ngpu 1 --preset full                960 h
#   ./run.sh --ngpu 1 --preset bpe                 subword units; the teacher is trained here
#   ./run.sh --stage decode decode.lm=train decode.beam=16     decode with a 3-gram of the transcripts
#   ./run.sh --help                                stages and options
set -euo pipefail
cd "$(dirname "$0")"
exec ../../../recipes/run.sh --task asr "$@"
