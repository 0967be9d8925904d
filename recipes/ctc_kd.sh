#!/usr/bin/env bash
# CTC teacher–student training, in stages. Called by egs/<corpus>/ctc_kd/run.sh, from that directory, which has
# local/data.sh (stage 0) and conf/preset/*.yaml (everything else).
set -euo pipefail

task=ctc_kd last_stage=10 default_stop=9
example='systems=[kd,cons_kd] seeds=3 student.training.lr=1e-3'
stages='   0  get the corpus                     6  train students
   1  validate data, make features       7  decode
   2  tokenizer                          8  score
   3  teacher (train or import)          9  report: RESULTS.md and figures
   4  check the teacher                 10  export
   5  make the book of teacher outputs'
# shellcheck source=recipes/options.sh
. "$(dirname "${BASH_SOURCE[0]}")/options.sh"

if at 0 "corpus"; then ./local/data.sh "${common[@]}"; fi
if at 1 "features"; then seqkd prepare features "${common[@]}"; fi
if at 2 "tokenizer"; then seqkd prepare tokens "${common[@]}"; fi
if at 3 "teacher"; then
  seqkd train --group teacher "${common[@]}"
  seqkd train --group further_teachers "${common[@]}"
fi
if at 4 "check the teacher"; then seqkd check-teacher "${common[@]}"; fi
if at 5 "book"; then seqkd book make "${common[@]}"; fi
if at 6 "students"; then seqkd train --group students "${common[@]}"; fi
if at 7 "decode"; then seqkd decode "${common[@]}"; fi
if at 8 "score"; then seqkd score --recipe "${common[@]}"; fi
if at 9 "report"; then seqkd report "${common[@]}"; fi
if at 10 "export"; then seqkd export "${common[@]}"; fi
