#!/usr/bin/env bash
# Learn to cut songs from concerts that you have shot lists of; docs/shots.md goes from videos to an editor's timeline.
# All it needs is a directory of audio files (wav, flac, ogg, mp3), each with its list beside it under the same name:
# concert7.flac and concert7.csv (start,end,type), concert7.otio, concert7.edl, .fcpxml, .srt, .json, .eaf, .tsv, .txt,
# or what PySceneDetect writes, concert7-Scenes.csv, with a column "type" put in. Of videos and m4a take the sound out
# first: ffmpeg -i concert7.mp4 -vn concert7.flac. Shot types are CU, MCU, MS, MLS, LS, XLS, ADS (audience) and MIS
# (instrument).
#   ./run.sh corpus.source=/path/to/concerts
# A relative path is taken from this directory. To make it a recipe of yours, copy egs/TEMPLATE to egs/<corpus> and
# write the path into conf/preset/default.yaml, which also says what else can be set.
#
# What becomes of the songs: a tenth is set aside as dev, 15 % as test (corpus.dev, corpus.test), the rest is train;
# songs without a list are a set "unlabelled", which the student can learn from, too (see the preset). A song stays in
# its set as long as the files are the same. If you have finished sets, put them as
# data/<preset>/{train,dev,test}/{wav.scp,shots.csv} and begin with --stage prepare.
#   ./run.sh --help               stages and options
set -euo pipefail
cd "$(dirname "$0")"
exec ../../../recipes/run.sh --task shots "$@"
