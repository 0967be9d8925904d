#!/usr/bin/env bash
# Train translators from English to German on made-up dates, times, amounts and numbers; needs nothing but pip.
#   ./run.sh                      one seed of the main systems
#   ./run.sh --preset smoke       two minutes: does everything work here?
#   ./run.sh --help               stages and options
# Phrases have several right translations with known probabilities: data/<preset>/origin.json says what negative
# log-likelihood a perfect model has, data/<preset>/<set>.renderings.jsonl how sure it is of what.
set -euo pipefail
cd "$(dirname "$0")"
exec ../../../recipes/run.sh --task translation "$@"
