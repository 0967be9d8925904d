#!/usr/bin/env bash
# CTC teacher–student training, in stages. Called by egs/<corpus>/ctc_kd/run.sh, from that directory, which has
# local/data.sh (stage 0) and conf/preset/*.yaml (everything else).
set -euo pipefail

usage() {
  cat <<'EOF'
usage: run.sh [options] [key=value ...]

stages:
   0  get the corpus                     6  train students
   1  validate data, make features       7  decode
   2  tokenizer                          8  score
   3  teacher (train or import)          9  report: RESULTS.md and figures
   4  check the teacher                 10  export
   5  make the book of teacher outputs

options:
  --stage N        first stage (default 0)
  --stop-stage M   last stage (default 9)
  --preset NAME    a file of conf/preset: smoke, default, study, full (default: default)
  --exp DIR        experiment directory (default: exp/<preset>); relative to the recipe's directory
  --data DIR       Kaldi data directories (default: data/<preset>); likewise
  --nj N           parallel jobs (default: all cores)
  --ngpu N         GPUs of a training run (default 0: the CPU)
  --help           this text
  key=value        any setting of seqkd/conf/ctc_kd/config.yaml, for example
                   systems=[kd,cons_kd] seeds=3 student.training.lr=1e-3

Every stage can be run again: it skips what is done and unchanged, and after an interruption carries on.
EOF
}

fail() {
  echo "run.sh: $1" >&2
  exit 2
}

SEQKD_COMMAND=$(printf ' %q' ./run.sh "$@")
export SEQKD_COMMAND=${SEQKD_COMMAND# } # for RESULTS.md

stage=0 stop_stage=9 preset=default exp='' data='' ngpu=0 settings=()
nj=$(getconf _NPROCESSORS_ONLN)
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h)
      usage
      exit 0
      ;;
    --stage | --stop-stage | --preset | --exp | --data | --nj | --ngpu)
      case ${2-} in '' | --*) fail "$1 needs a value" ;; esac
      name=${1#--}
      printf -v "${name//-/_}" '%s' "$2"
      shift 2
      ;;
    -*) fail "unknown option $1; known: --stage --stop-stage --preset --exp --data --nj --ngpu --help key=value" ;;
    *=*)
      settings+=("$1")
      shift
      ;;
    *) fail "'$1' is neither an option nor a key=value setting; --help lists the options" ;;
  esac
done
for number in stage stop_stage nj ngpu; do
  [[ ${!number} =~ ^[0-9]+$ ]] || fail "--${number//_/-} is '${!number}'; expected a whole number"
done
[ "$nj" -ge 1 ] || fail "--nj is 0; expected at least 1"
[ "$stop_stage" -le 10 ] || fail "--stop-stage is $stop_stage; the last stage is 10"
[ "$stage" -le "$stop_stage" ] || fail "--stage $stage comes after --stop-stage $stop_stage: nothing would run"
[ -f "conf/preset/$preset.yaml" ] || fail "there is no preset $preset; known: $(cd conf/preset && echo *.yaml | sed 's/\.yaml//g')"

# Only now: a wrong option should not cost the installation first.
# shellcheck source=local/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/../local/setup.sh"

exp=${exp:-exp/$preset}
data=${data:-data/$preset}
common=(--conf conf --preset "$preset" --exp "$exp" --data "$data" --nj "$nj" --ngpu "$ngpu")
# bash 3.2 (macOS) takes an empty array for an unset one.
common+=(${settings[@]+"${settings[@]}"})

at() { # at N TITLE: whether stage N is to run
  [ "$stage" -le "$1" ] && [ "$1" -le "$stop_stage" ] || return 1
  echo "== stage $1: $2"
}

if at 0 "corpus"; then ./local/data.sh "${common[@]}"; fi
if at 1 "features"; then seqkd prepare features "${common[@]}"; fi
if at 2 "tokenizer"; then seqkd prepare tokens "${common[@]}"; fi
if at 3 "teacher"; then seqkd train --group teacher "${common[@]}"; fi
if at 4 "check the teacher"; then seqkd check-teacher "${common[@]}"; fi
if at 5 "book"; then echo "the teacher runs live beside its students: there is no book to make yet"; fi
if at 6 "students"; then seqkd train --group students "${common[@]}"; fi
if at 7 "decode"; then seqkd decode "${common[@]}"; fi
if at 8 "score"; then seqkd score --recipe "${common[@]}"; fi
if at 9 "report"; then seqkd report "${common[@]}"; fi
if at 10 "export"; then echo "export is not there yet: the trained models are in $exp/<system>/seed<k>/model"; fi
