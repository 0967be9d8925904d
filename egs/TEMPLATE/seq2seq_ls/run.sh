#!/usr/bin/env bash
# Train sequence-to-sequence models on your own pairs of texts, with adaptive label smoothing and what it is compared
# with. Two text files side by side, one sentence a line, UTF-8, are all it needs:
#   ./run.sh corpus.source=train.en corpus.target=train.de
# or one table train.tsv with the columns source, target and, if you have them, id and group:
#   ./run.sh corpus.source=train.tsv
# A relative path is taken from this directory. To make it a recipe of yours, copy egs/TEMPLATE to egs/<corpus> and
# write the paths into conf/preset/default.yaml, which also says what else can be set.
#
# What becomes of the text: 1,000 pairs each are set aside as dev and test (corpus.dev, corpus.test; they can be files
# of their own), the rest is train. Lines of one group (corpus.group: a document, a talk, a speaker) stay in one set.
# Sentences of train that are also in dev or test are taken out and counted. The split is kept in
# data/<preset>/split.json, so dev and test stay the same when more text comes. If you have finished sets, put them as
# data/<preset>/{train,dev,test}/{src,tgt} (lines "<id> <text>") and begin with --stage prepare.
#   ./run.sh --help               stages and options
set -euo pipefail
cd "$(dirname "$0")"
exec ../../../recipes/run.sh --task translation "$@"
