#!/usr/bin/env bash
# Learn to cut made-up concerts: songs by a made-up band, shots by a director whose taste is known exactly.
#   ./run.sh                      twelve minutes on two cores: every system, five seeds: the table in RESULTS.md
#   ./run.sh --preset more_songs  35 minutes: the teacher learns from five times the songs: more_songs/RESULTS.md
#   ./run.sh --preset smoke       a minute and a half: does everything work here?
#   ./run.sh --stage export       afterwards: the best student becomes exp/default/model
#   ./run.sh --help               stages and options
# With that model:  seqkd shots SONG -o cut.otio --model egs/synthetic_concerts/music2shot/exp/default/model
set -euo pipefail
cd "$(dirname "$0")"
exec ../../../recipes/run.sh --task shots "$@"
