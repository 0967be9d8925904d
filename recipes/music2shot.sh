#!/usr/bin/env bash
# From songs to sequences of camera shots by deep interactive learning, in stages. Called by
# egs/<corpus>/music2shot/run.sh, from that directory, which has local/data.sh (stage 0) and conf/preset/*.yaml.
set -euo pipefail

task=music2shot last_stage=9 default_stop=9
example='systems=[student,student_kd,dil] seeds=3 training.updates=400'
stages='   0  get the corpus                     5  interactive rounds: student and teacher in turn
   1  features of the songs              6  decode
   2  assistants at 1, 2 and 4 s         7  score
   3  teacher: the assistants fused      8  report: RESULTS.md and figures
   4  students and baselines             9  export the student for seqkd shots'
# shellcheck source=recipes/options.sh
. "$(dirname "${BASH_SOURCE[0]}")/options.sh"

if at 0 "corpus"; then ./local/data.sh "${common[@]}"; fi
if at 1 "features"; then seqkd prepare features "${common[@]}"; fi
if at 2 "assistants"; then seqkd train --group assistants "${common[@]}"; fi
if at 3 "teacher"; then seqkd train --group teacher "${common[@]}"; fi
if at 4 "students"; then seqkd train --group students "${common[@]}"; fi
if at 5 "interactive rounds"; then
  seqkd train --group rounds "${common[@]}"
  seqkd train --group last_teacher "${common[@]}"
fi
if at 6 "decode"; then seqkd decode "${common[@]}"; fi
if at 7 "score"; then seqkd score --recipe "${common[@]}"; fi
if at 8 "report"; then seqkd report "${common[@]}"; fi
if at 9 "export"; then seqkd prepare export "${common[@]}"; fi
