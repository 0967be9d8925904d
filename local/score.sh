#!/usr/bin/env bash
# Score a decoding, in Kaldi's manner or in ours:
#   local/score.sh [options] <data-dir> <lang-or-graph-dir> <decode-dir>           as Kaldi's steps/decode*.sh call it
#   local/score.sh [options] <data-dir> <decode-dir> [<decode-dir> ...]            several are compared
#
# A directory with words.txt, phones.txt or HCLG.fst in second place is the graph (Kaldi's convention).
# References are <data-dir>/stm with hypotheses <decode-dir>/hyp.ctm, or <data-dir>/text with the first there is of
# <decode-dir>/hyp.jsonl, hyp.trn and text; utt2spk and utt2dur of the data directory are used. A decode directory of
# Kaldi's, with lattices (lat.*.gz; Kaldi's tools on the PATH) or with scoring_kaldi/penalty_*/*.txt, gets Kaldi's
# wer_<weight>_<penalty> and scoring_kaldi/best_wer for every language-model weight and word insertion penalty, and the
# best of these is the hypothesis. Writes score.json, score.html and alignments.txt into the last decode directory.
# Options:
#   --stage N, --stop-stage M       0 makes hypotheses of lattices, 1 scores (all there is to do); default 0 and 1
#   --min-lmwt N, --max-lmwt N      weights of the language model (7 to 17)
#   --word-ins-penalty P,P,...      word insertion penalties (0.0,0.5,1.0)
#   --cmd CMD                       Kaldi's: where jobs run, such as run.pl; lattices are read here
#   --iter, --beam, --decode-mbr, --stats, --asr-model, --hubscr, --ctm-name, --scoring-opts   Kaldi's, of no effect
#   any of seqkd score --help       such as --costs 4,3,3 or --normalize lower
set -euo pipefail

usage() {
  sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
}

fail() {
  echo "score.sh: $1" >&2
  exit 2
}

stage=0 stop_stage=1 min_lmwt=7 max_lmwt=17 word_ins_penalty=0.0,0.5,1.0 options=() folders=() shared=()
while [ $# -gt 0 ]; do
  # Kaldi's parse_options.sh takes --name_with=value, too, and - for _.
  case $1 in
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
  esac
  case $1 in --*) option=${1//_/-} ;; *) option=$1 ;; esac
  case $option in
    --help | -h)
      usage
      exit 0
      ;;
    --stage | --stop-stage | --min-lmwt | --max-lmwt)
      [[ ${2-} =~ ^[0-9]+$ ]] || fail "$option is '${2-}'; expected a whole number"
      name=${option#--}
      printf -v "${name//-/_}" '%s' "$2"
      shift 2
      ;;
    --word-ins-penalty)
      [[ ${2-} =~ ^[-0-9.]+(,[-0-9.]+)*$ ]] || fail "$option is '${2-}'; expected numbers, as in 0.0,0.5,1.0"
      word_ins_penalty=$2
      shift 2
      ;;
    --cmd | --iter | --beam | --decode-mbr | --stats | --asr-model | --hubscr | --ctm-name | --scoring-opts)
      shift 2 || fail "$option needs a value"
      ;;
    --details | --mixed | --formatted | --tagged | --fragments)
      options+=("$option")
      shift
      ;;
    --*)
      [ $# -gt 1 ] || fail "$option needs a value"
      options+=("$option" "$2")
      case $option in --costs | --normalize | --missing) shared+=("$option" "$2") ;; esac
      shift 2
      ;;
    *)
      folders+=("$1")
      shift
      ;;
  esac
done
[ ${#folders[@]} -ge 2 ] || fail "expected a data directory and a decode directory; --help explains"
if [ "$stage" -gt 1 ] || [ "$stop_stage" -lt "$stage" ]; then exit 0; fi

data=${folders[0]} graph=
if [ ${#folders[@]} -ge 3 ]; then
  for file in words.txt phones.txt HCLG.fst; do
    if [ -e "${folders[1]}/$file" ]; then graph=${folders[1]}; fi
  done
fi
decodes=("${folders[@]:1}")
if [ -n "$graph" ]; then decodes=("${folders[@]:2}"); fi
references=$data/text kinds=(hyp.jsonl hyp.trn text)
if [ -f "$data/stm" ]; then references=$data/stm kinds=(hyp.ctm); fi
[ -f "$references" ] || fail "$data has neither text nor stm to score against"

if ! command -v seqkd >/dev/null; then
  # shellcheck source=local/setup.sh
  . "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
fi

# Hypotheses of lattices, for every weight and penalty, where Kaldi's own scripts put them.
from_lattices() {
  local decode=$1 penalty weight out
  [ -n "$graph" ] && [ -f "$graph/words.txt" ] || fail "$decode has lattices, and there is no <graph-dir>/words.txt"
  for tool in lattice-scale lattice-add-penalty lattice-best-path int2sym.pl; do
    command -v "$tool" >/dev/null || fail "$decode has lattices, and Kaldi's $tool is not on the PATH"
  done
  for penalty in ${word_ins_penalty//,/ }; do
    out=$decode/scoring_kaldi/penalty_$penalty
    mkdir -p "$out"
    for ((weight = min_lmwt; weight <= max_lmwt; weight++)); do
      lattice-scale --inv-acoustic-scale="$weight" "ark:gunzip -c $decode/lat.*.gz|" ark:- |
        lattice-add-penalty --word-ins-penalty="$penalty" ark:- ark:- |
        lattice-best-path --word-symbol-table="$graph/words.txt" ark:- ark,t:- |
        int2sym.pl -f 2- "$graph/words.txt" >"$out/$weight.txt.part" || fail "lattices of $decode cannot be read"
      mv "$out/$weight.txt.part" "$out/$weight.txt"
    done
  done
}

hypotheses=()
for decode in "${decodes[@]}"; do
  decode=${decode%/}
  found=''
  for file in "${kinds[@]}"; do
    if [ -f "$decode/$file" ]; then
      found=$decode/$file
      break
    fi
  done
  if [ -z "$found" ] && [ "$references" = "$data/text" ]; then
    if [ "$stage" -le 0 ] && compgen -G "$decode/lat.*.gz" >/dev/null; then from_lattices "$decode"; fi
    if [ "$stop_stage" -lt 1 ]; then continue; fi
    if compgen -G "$decode/scoring_kaldi/penalty_*/*.txt" >/dev/null; then
      found=$(python -m seqkd.scoring.kaldi "$data" "$decode" ${shared[@]+"${shared[@]}"}) || exit 1
    fi
  fi
  [ -n "$found" ] || fail "$decode has none of: ${kinds[*]}, lat.*.gz, scoring_kaldi/penalty_*/*.txt"
  hypotheses+=(--hyp "$decode=$found")
done
if [ "$stop_stage" -lt 1 ]; then exit 0; fi
if [ "$references" = "$data/text" ]; then
  options+=(--format ref=text)
  [ ! -f "$data/utt2spk" ] || options+=(--utt2spk "$data/utt2spk")
  [ ! -f "$data/utt2dur" ] || options+=(--utt2dur "$data/utt2dur")
fi
# Kaldi's own script leaves utterances without a hypothesis out and says nothing; here they count as empty.
if [ -n "$graph" ]; then options=(--missing all ${options[@]+"${options[@]}"}); fi
out=${decodes[${#decodes[@]} - 1]}
# bash 3.2 (macOS) takes an empty array for an unset one.
exec seqkd score --ref "$references" "${hypotheses[@]}" ${options[@]+"${options[@]}"} \
  --json "$out/score.json" --html "$out/score.html" --align "$out/alignments.txt"
