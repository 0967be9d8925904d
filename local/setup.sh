#!/usr/bin/env bash
# Make the environment: a virtual environment in .venv (SEQKD_VENV overrides the place, SEQKD_PYTHON the
# interpreter) with the versions of constraints.txt, and put it on the PATH of whoever sources this file.
# Does nothing when it is up to date.
set -euo pipefail

seqkd_setup() {
  local root venv stamp wanted python='' candidate
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  venv=${SEQKD_VENV:-$root/.venv}
  # Recipes run in their own directories: a relative place must not depend on where the caller stands.
  case $venv in /*) ;; *) venv=$root/$venv ;; esac
  stamp=$venv/seqkd-stamp
  # The compiled part is built again when its sources change.
  wanted="$(shopt -s nullglob && cat "$root"/{pyproject.toml,setup.py,local/constraints.txt} \
    "$root"/seqkd/{ctc/cpu,scoring}/*.{h,cpp} | cksum) $root"
  if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
    for candidate in ${SEQKD_PYTHON:+"$SEQKD_PYTHON"} python3.12 python3.11 python3.10 python3.13 python3; do
      if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        python=$candidate
        break
      elif [ "$candidate" = "${SEQKD_PYTHON:-}" ]; then
        echo "setup: SEQKD_PYTHON is $candidate, which is not a Python 3.10 to 3.13" >&2
        return 1
      fi
    done
    if [ -z "$python" ]; then
      echo "setup: no Python 3.10 to 3.13 on the PATH; install one, or set SEQKD_PYTHON" >&2
      return 1
    fi
    echo "setup: installing into $venv (some minutes and about 6 GB the first time)" >&2
    if [ ! -x "$venv/bin/pip" ] && ! "$python" -m venv "$venv"; then
      echo "setup: $python cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2
      return 1
    fi
    # What is never imported need not be compiled: that is most of it, and half a minute.
    if ! "$venv/bin/pip" install --quiet --disable-pip-version-check --no-compile -c "$root/local/constraints.txt" \
      -e "${root}[recipes,synth,dev]"; then
      echo "setup: pip could not install the packages; run it again when the reason above is mended" >&2
      return 1
    fi
    echo "$wanted" >"$stamp"
  fi
  export PATH="$venv/bin:$PATH"
}

seqkd_setup
