#!/usr/bin/env bash
# Score a decoding, as Kaldi recipes expect: local/score.sh [options] <data-dir> <decode-dir> [<decode-dir> ...]
#
# References are <data-dir>/stm with hypotheses <decode-dir>/hyp.ctm, or <data-dir>/text with the first there is of
# <decode-dir>/hyp.jsonl, hyp.trn and text; utt2spk and utt2dur of the data directory are used. Several decode
# directories are compared. Writes score.json, score.html and alignments.txt into the last one.
# Options:
#   --stage N, --stop-stage M   1 scores (all there is to do); both default to 1
#   any of seqkd score --help   such as --costs 4,3,3 or --normalize lower
set -euo pipefail

usage() {
  sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
}

fail() {
  echo "score.sh: $1" >&2
  exit 2
}

stage=1 stop_stage=1 options=() folders=()
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h)
      usage
      exit 0
      ;;
    --stage | --stop-stage)
      [[ ${2-} =~ ^[0-9]+$ ]] || fail "$1 is '${2-}'; expected a whole number"
      name=${1#--}
      printf -v "${name//-/_}" '%s' "$2"
      shift 2
      ;;
    --cmd) shift 2 || fail "--cmd needs a value" ;; # Kaldi's: where jobs run; there is nothing here worth a queue
    --details)
      options+=("$1")
      shift
      ;;
    --*)
      [ $# -gt 1 ] || fail "$1 needs a value"
      options+=("$1" "$2")
      shift 2
      ;;
    *)
      folders+=("$1")
      shift
      ;;
  esac
done
[ ${#folders[@]} -ge 2 ] || fail "expected a data directory and a decode directory; --help explains"
if [ "$stage" -gt 1 ] || [ "$stop_stage" -lt 1 ]; then exit 0; fi

data=${folders[0]}
decodes=("${folders[@]:1}")
references=$data/text kinds=(hyp.jsonl hyp.trn text)
if [ -f "$data/stm" ]; then references=$data/stm kinds=(hyp.ctm); fi
[ -f "$references" ] || fail "$data has neither text nor stm to score against"

if ! command -v seqkd >/dev/null; then
  # shellcheck source=local/setup.sh
  . "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
fi

hypotheses=()
for decode in "${decodes[@]}"; do
  found=''
  for file in "${kinds[@]}"; do
    if [ -f "$decode/$file" ]; then
      found=$decode/$file
      break
    fi
  done
  [ -n "$found" ] || fail "$decode has none of: ${kinds[*]}"
  hypotheses+=(--hyp "${decode%/}=$found")
done
if [ "$references" = "$data/text" ]; then
  [ ! -f "$data/utt2spk" ] || options+=(--utt2spk "$data/utt2spk")
  [ ! -f "$data/utt2dur" ] || options+=(--utt2dur "$data/utt2dur")
fi
out=${decodes[${#decodes[@]} - 1]}
# bash 3.2 (macOS) takes an empty array for an unset one.
exec seqkd score --ref "$references" "${hypotheses[@]}" ${options[@]+"${options[@]}"} \
  --json "$out/score.json" --html "$out/score.html" --align "$out/alignments.txt"
