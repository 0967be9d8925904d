#!/usr/bin/env bash
# Where corpora lie on this site; LibriSpeech's local/data.sh sources this file. A variable that is already set wins.
# Empty: the recipe downloads the corpus itself.

# LibriSpeech: the directory with train-clean-100, dev-clean, test-other, ..., or the one with LibriSpeech/ in it.
export LIBRISPEECH=${LIBRISPEECH:-}
