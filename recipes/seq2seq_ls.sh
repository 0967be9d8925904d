#!/usr/bin/env bash
# Encoder–decoder training with label smoothing and self-knowledge, in stages. Called by
# egs/<corpus>/seq2seq_ls/run.sh, from that directory, which has local/data.sh (stage 0) and conf/preset/*.yaml.
set -euo pipefail

task=seq2seq_ls last_stage=8 default_stop=8
example='systems=[none,adaptive] seeds=3 student.model.dropout=0.3'
stages='   0  get the corpus, split it           5  train the systems that learn from others
   1  validate the pairs                 6  decode
   2  sentencepiece                      7  score
   3  train the systems                  8  report: RESULTS.md and figures
   4  make the book of teacher outputs'
# shellcheck source=recipes/options.sh
. "$(dirname "${BASH_SOURCE[0]}")/options.sh"

if at 0 "corpus"; then ./local/data.sh "${common[@]}"; fi
if at 1 "validate"; then seqkd prepare pairs "${common[@]}"; fi
if at 2 "sentencepiece"; then seqkd prepare tokens "${common[@]}"; fi
if at 3 "train"; then seqkd train --group alone "${common[@]}"; fi
if at 4 "book"; then seqkd book make "${common[@]}"; fi
if at 5 "train those who learn from others"; then seqkd train --group taught "${common[@]}"; fi
if at 6 "decode"; then seqkd decode "${common[@]}"; fi
if at 7 "score"; then seqkd score --recipe "${common[@]}"; fi
if at 8 "report"; then seqkd report "${common[@]}"; fi
