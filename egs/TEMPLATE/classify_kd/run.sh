#!/usr/bin/env bash
# Train a small classifier of your own sounds or images: a folder with a folder for each class, or a table (csv, tsv,
# jsonl) with columns path and label, and maybe group, speaker, recording, source or part.
#   ./run.sh corpus.folder=/path/to/classes
#   ./run.sh corpus.csv=/path/to/clips.csv
# A relative path is taken from this directory. To make it a recipe of yours, copy egs/TEMPLATE to egs/<corpus> and
# write the path into conf/preset/default.yaml, which also says what else can be set.
#
# What becomes of the files: they are split into train, dev and test so that no speaker, recording, source or name of a
# file (the best of these that there is) is in two parts, and every class in all; data/<preset>/split.json says by
# which, and stays. Files of two parts with the same content, or nearly, are an error.
#   ./run.sh --help               stages and options
set -euo pipefail
cd "$(dirname "$0")"
exec ../../../recipes/run.sh --task classification "$@"
