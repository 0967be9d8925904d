#!/usr/bin/env bash
# Distil a CTC speech recogniser on your own recordings. What they come in is found by looking at it: a Kaldi data
# directory (wav.scp, text, utt2spk); an audio folder as on the Hugging Face hub (metadata.csv or metadata.jsonl with
# file_name and text; folders train, validation, test too); a table .csv or .tsv with paths and transcripts.
#   ./run.sh corpus.train=/path/to/recordings
#   ./run.sh corpus.train=train.csv corpus.dev=dev.csv corpus.test=test.csv corpus.unlabelled=/path/to/more/audio \
#     unlabelled=[unlabelled] systems=[student,kd,kd_unlabelled]
# A relative path is taken from this directory. To make it a recipe of yours, copy egs/TEMPLATE to egs/<corpus> and
# write the paths into conf/preset/default.yaml, which also says what else can be set: columns, text, sample rates.
# Sets that are not named are split off train by hash, whole speakers if they are known. If you have finished sets, put
# them as data/<preset>/{train,dev,test}/{wav.scp,text,utt2spk} and begin with --stage prepare.
#   ./run.sh --help               stages and options
set -euo pipefail
cd "$(dirname "$0")"
exec ../../../recipes/run.sh --task asr "$@"
