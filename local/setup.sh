#!/usr/bin/env bash
# Make the environment: a virtual environment in .venv (SEQKD_VENV overrides the place, SEQKD_PYTHON the
# interpreter) with the versions of constraints.txt, and put it on the PATH of whoever sources this file.
# uv installs where it is on the PATH, pip otherwise. Does nothing when the environment is up to date.
set -euo pipefail

seqkd_version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

seqkd_venv() { # seqkd_venv PYTHON VENV
  if command -v uv >/dev/null && uv venv --quiet --seed --python "$1" "$2"; then return; fi
  "$1" -m venv "$2"
}

# A failing uv is no reason to stop: pip may be configured for an index that uv does not know of.
seqkd_install() { # seqkd_install VENV OPTION ...
  local venv=$1
  shift
  if command -v uv >/dev/null; then
    if uv pip install --quiet --python "$venv/bin/python" "$@"; then return; fi
    echo "setup: uv could not install the packages; pip tries" >&2
  fi
  # What is never imported need not be compiled: that is most of it, and half a minute.
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-compile "$@"
}

seqkd_setup() {
  local root venv stamp wanted python='' candidate version here
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  venv=${SEQKD_VENV:-$root/.venv}
  # Recipes run in their own directories: a relative place must not depend on where the caller stands.
  case $venv in /*) ;; *) venv=$root/$venv ;; esac
  stamp=$venv/seqkd-stamp
  if [ -n "${SEQKD_PYTHON:-}" ] && here=$(seqkd_version "$venv/bin/python") && version=$(seqkd_version "$SEQKD_PYTHON") &&
    [ "$here" != "$version" ]; then
    echo "setup: $venv has Python $here, SEQKD_PYTHON is $version; remove it, or set SEQKD_VENV to another place" >&2
    return 1
  fi
  # The compiled part is built again when its sources change.
  wanted="$(shopt -s nullglob && cat "$root"/{pyproject.toml,setup.py,local/constraints.txt} \
    "$root"/seqkd/{ctc/cpu,scoring}/*.{h,cpp} | cksum) $root"
  if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
    # 3.14 comes last: the packages are there for it, but nothing has been run on it.
    for candidate in ${SEQKD_PYTHON:+"$SEQKD_PYTHON"} python3.{12,11,10,13} python3 python3.14; do
      version=$(seqkd_version "$candidate" || true)
      case $version in
        3.10 | 3.11 | 3.12 | 3.13 | 3.14)
          python=$candidate
          break
          ;;
      esac
      if [ "$candidate" = "${SEQKD_PYTHON:-}" ]; then
        echo "setup: SEQKD_PYTHON is $candidate, which is not a Python 3.10 to 3.14" >&2
        return 1
      fi
    done
    if [ -z "$python" ]; then
      echo "setup: no Python 3.10 to 3.14 on the PATH; install one, or set SEQKD_PYTHON" >&2
      return 1
    fi
    echo "setup: installing into $venv (some minutes and about 6 GB the first time)" >&2
    if [ ! -x "$venv/bin/pip" ] && ! seqkd_venv "$python" "$venv"; then
      echo "setup: $python cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2
      return 1
    fi
    if ! seqkd_install "$venv" -c "$root/local/constraints.txt" -e "${root}[recipes,synth,dev]"; then
      echo "setup: pip could not install the packages; run it again when the reason above is removed" >&2
      return 1
    fi
    echo "$wanted" >"$stamp"
  fi
  export PATH="$venv/bin:$PATH"
}

seqkd_setup
