#!/usr/bin/env bash
# shellcheck disable=SC2154 # what recipes/<task>.sh has set
# Options, settings and stages that all recipes share; sourced by recipes/<task>.sh, which has set
#   task          name of the recipe's kind: settings are in seqkd/conf/<task>
#   stages        text for --help: the stages
#   last_stage    the last one
#   default_stop  where a run without --stop-stage ends
# and goes on with `if at N "title"; then seqkd COMMAND "${common[@]}"; fi`.

usage() {
  cat <<EOF
usage: run.sh [options] [key=value ...]

stages:
$stages

options:
  --stage N        first stage (default 0)
  --stop-stage M   last stage (default $default_stop)
  --preset NAME    a file of conf/preset: $(cd conf/preset && echo *.yaml | sed 's/\.yaml//g; s/ /, /g') (default: default)
  --exp DIR        experiment directory (default: exp/<preset>); relative to the recipe's directory
  --data DIR       directory of the sets (default: data/<preset>); likewise
  --nj N           parallel jobs (default: all cores)
  --ngpu N         GPUs of a training run on each node (default 0: the CPU)
  --nodes N        nodes of a training run (default 1); where jobs run: local/cmd.sh
  --help           this text
  key=value        any setting of seqkd/conf/$task/config.yaml, for example
                   $example

Every stage can be run again: it skips what is done and unchanged, and after an interruption carries on.
EOF
}

fail() {
  echo "run.sh: $1" >&2
  exit 2
}

SEQKD_COMMAND=$(printf ' %q' ./run.sh "$@")
export SEQKD_COMMAND=${SEQKD_COMMAND# } # for RESULTS.md

stage=0 stop_stage=$default_stop preset=default exp='' data='' ngpu=0 nodes=1 settings=()
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
for number in stage stop_stage nj ngpu nodes; do
  [[ ${!number} =~ ^[0-9]+$ ]] || fail "--${number//_/-} is '${!number}'; expected a whole number"
done
[ "$nj" -ge 1 ] || fail "--nj is 0; expected at least 1"
[ "$nodes" -ge 1 ] || fail "--nodes is 0; expected at least 1"
[ "$stop_stage" -le "$last_stage" ] || fail "--stop-stage is $stop_stage; the last stage is $last_stage"
[ "$stage" -le "$stop_stage" ] || fail "--stage $stage comes after --stop-stage $stop_stage: nothing would run"
[ -f "conf/preset/$preset.yaml" ] || fail "there is no preset $preset; known: $(cd conf/preset && echo *.yaml | sed 's/\.yaml//g')"

# Only now: a wrong option should not cost the installation first.
# shellcheck source=local/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/../local/setup.sh"
# shellcheck source=local/cmd.sh
. "$(dirname "${BASH_SOURCE[0]}")/../local/cmd.sh"

exp=${exp:-exp/$preset}
data=${data:-data/$preset}
common=(--task "$task" --conf conf --preset "$preset" --exp "$exp" --data "$data" --nj "$nj")
if [ "$SEQKD_BACKEND" = slurm ]; then
  common+=("ngpu=$ngpu") # a setting is not held against the GPUs of this machine, from which jobs are only submitted
else
  common+=(--ngpu "$ngpu")
fi
if [ "$nodes" -gt 1 ]; then common+=("nodes=$nodes"); fi
# bash 3.2 (macOS) takes an empty array for an unset one.
common+=(${settings[@]+"${settings[@]}"})

at() { # at N TITLE: whether stage N is to run
  [ "$stage" -le "$1" ] && [ "$1" -le "$stop_stage" ] || return 1
  echo "== stage $1: $2"
}
