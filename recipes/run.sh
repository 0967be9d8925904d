#!/usr/bin/env bash
# The driver of every recipe: run.sh --task TASK [options] [key=value ...]. egs/<corpus>/<task>/run.sh calls it from its
# own directory, which has conf/preset/*.yaml, and maybe local/data.sh, which then gets the corpus.
set -euo pipefail

stages=(corpus prepare teachers check book students decode score report export) # seqkd/stages.py has this list, too
default_stop=report

usage() {
  cat <<EOU
usage: run.sh [options] [key=value ...]

stages, by number or name:
  0  corpus     get the corpus
  1  prepare    check it, make features and units
  2  teachers   train (or import) the systems that others learn from
  3  check      measure the teachers before anyone learns from them
  4  book       store the teachers' outputs
  5  students   train the other systems
  6  decode     decode the test sets with every system
  7  score      score what was decoded
  8  report     write RESULTS.md and figures
  9  export     write files to deploy; only where asked for

options:
  --stage S        first stage (default corpus)
  --stop-stage S   last stage (default $default_stop, or --stage if that comes later)
  --preset NAME    a file of conf/preset: $(presets | sed 's/ /, /g') (default: default)
  --exp DIR        experiment directory (default: exp/<preset>); relative to the recipe's directory
  --data DIR       directory of the sets (default: data/<preset>); likewise
  --nj N           parallel jobs (default: all cores)
  --ngpu N         GPUs of a training run on each node (default 0: the CPU)
  --nodes N        nodes of a training run (default 1); where jobs run: local/cmd.sh
  --help           this text
  key=value        any setting of seqkd/conf/$task/config.yaml, such as
                   seeds=3 'systems=[$example]'

Every stage can be run again: it skips what is done and unchanged, and after an interruption carries on.
EOU
}

presets() { (cd conf/preset && echo *.yaml | sed 's/\.yaml//g'); }

fail() {
  echo "run.sh: $1" >&2
  exit 2
}

number_of() { # number_of OPTION STAGE: the stage's number, given that or its name
  local i
  for i in "${!stages[@]}"; do
    if [ "$2" = "$i" ] || [ "$2" = "${stages[i]}" ]; then
      echo "$i"
      return
    fi
  done
  fail "$1 is '$2'; expected a number from 0 to $((${#stages[@]} - 1)), or one of: ${stages[*]}"
}

[ "${1-}" = --task ] && [ $# -ge 2 ] || fail "expected --task TASK first, as egs/*/*/run.sh give it"
task=$2
shift 2
case $task in
  asr) example=student,kd ;;
  translation) example=none,adaptive ;;
  shots) example=student,dil ;;
  classification) example=student,kd ;;
  *) example=... ;;
esac
[ -d conf/preset ] || fail "there is no conf/preset in $PWD; expected to be called by a recipe's own run.sh"

SEQKD_COMMAND=$(printf ' %q' ./run.sh "$@")
export SEQKD_COMMAND=${SEQKD_COMMAND# } # for RESULTS.md, and for messages that say what to run

stage=corpus stop_stage='' preset=default exp='' data='' ngpu=0 nodes=1 settings=()
nj=$(getconf _NPROCESSORS_ONLN)
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h)
      usage
      exit 0
      ;;
    --stage | --stop-stage | --preset | --exp | --data | --nj | --ngpu | --nodes)
      case ${2-} in '' | --*) fail "$1 needs a value" ;; esac
      name=${1#--}
      printf -v "${name//-/_}" '%s' "$2"
      shift 2
      ;;
    -*) fail "unknown option $1; known: --stage --stop-stage --preset --exp --data --nj --ngpu --nodes --help key=value" ;;
    *=*)
      settings+=("$1")
      shift
      ;;
    *) fail "'$1' is neither an option nor a key=value setting; --help lists the options" ;;
  esac
done
for number in nj ngpu nodes; do
  [[ ${!number} =~ ^[0-9]+$ ]] || fail "--$number is '${!number}'; expected a whole number"
done
[ "$nj" -ge 1 ] || fail "--nj is 0; expected at least 1"
[ "$nodes" -ge 1 ] || fail "--nodes is 0; expected at least 1"
first=$(number_of --stage "$stage")
last=$(number_of --stop-stage "${stop_stage:-$default_stop}")
if [ -z "$stop_stage" ] && [ "$last" -lt "$first" ]; then last=$first; fi
[ "$first" -le "$last" ] || fail "--stage $stage comes after --stop-stage $stop_stage: nothing would run"
[ -f "conf/preset/$preset.yaml" ] || fail "there is no preset $preset; known: $(presets)"

# Only now: a wrong option should not cost the installation first.
# shellcheck source=local/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/../local/setup.sh"
# shellcheck source=local/cmd.sh
. "$(dirname "${BASH_SOURCE[0]}")/../local/cmd.sh"

common=(--task "$task" --conf conf --preset "$preset" --exp "${exp:-exp/$preset}" --data "${data:-data/$preset}" --nj "$nj")
if [ "$SEQKD_BACKEND" = slurm ]; then
  common+=("ngpu=$ngpu") # a setting is not held against the GPUs of this machine, from which jobs are only submitted
else
  common+=(--ngpu "$ngpu")
fi
if [ "$nodes" -gt 1 ]; then common+=("nodes=$nodes"); fi
# bash 3.2 (macOS) takes an empty array for an unset one.
common+=(${settings[@]+"${settings[@]}"})

names=("${stages[@]:first:last-first+1}")
if [ "${names[0]}" = corpus ] && [ -x local/data.sh ]; then
  echo "== stage 0: corpus"
  ./local/data.sh "${common[@]}"
  names=(${names[@]+"${names[@]:1}"})
fi
if [ ${#names[@]} -gt 0 ]; then seqkd stages "${names[@]}" -- "${common[@]}"; fi
