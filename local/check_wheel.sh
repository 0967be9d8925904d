#!/usr/bin/env bash
# Build the source distribution and the wheel, check them, install the wheel in an empty environment, and run there
# what its users run: seqkd doctor, the scorer and, with torch, the losses.
#   local/check_wheel.sh              the scorer's part: a minute or two
#   local/check_wheel.sh --losses     then the losses' part, with torch: minutes, 5 GB
#   local/check_wheel.sh --installed  no building: check what is installed in this environment (for cibuildwheel)
# SEQKD_PYTHON names the interpreter, SEQKD_DIST a folder that keeps what was built.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "check_wheel: $1" >&2
  exit 1
}

scorer() { # scorer BIN: the scorer, by the commands of an environment
  (
    cd "$work" # not in the checkout: what is installed is to be imported
    "$1/seqkd" doctor >doctor.txt
    printf 'u1 turn the light on\nu2 stop\n' >ref.txt
    printf 'u1 turn light on please\nu2 stop\n' >hyp.txt
    "$1/seqkd" score --wer --ref ref.txt --hyp hyp=hyp.txt --html score.html --json score.json >score.txt
    grep -q '%WER 40.00 \[ 2 / 5, 1 ins, 1 del, 0 sub \]' score.txt || fail "unexpected scores: $(cat score.txt)"
    [ -s score.html ] && [ -s score.json ] || fail "seqkd score wrote no page or no numbers"
    "$1/seqkd" systems --task asr >systems.txt 2>&1 || grep -q "pip install 'seqkd\[recipes\]'" systems.txt ||
      fail "seqkd systems: $(cat systems.txt)"
    "$1/python" -c 'from seqkd import native; assert native.library(), "the wheel lacks the compiled part"'
  )
}

losses() { # losses BIN: the losses, with the kernels of the wheel, against the plain computation
  (
    cd "$work"
    "$1/python" - <<'EOF'
import torch
from seqkd.ctc import cpu
from seqkd.losses import cons_kd_loss

assert cpu.available()[0], cpu.available()[1]
torch.manual_seed(0)
student, teacher = torch.randn(2, 4, 50, 30), torch.randn(4, 50, 30)
arguments = (teacher, torch.randint(1, 30, (4, 8)), torch.tensor([50, 50, 40, 30]), torch.tensor([8, 6, 8, 5]))
gradients = []
for backend in ("cpu", "torch"):
    logits = student.clone().requires_grad_()
    loss = cons_kd_loss(logits, *arguments, kd_weight=1.0, consistency_weight=0.2, backend=backend)
    loss.total.backward()
    gradients.append(logits.grad)
torch.testing.assert_close(*gradients)
print(f"losses: {loss.total.item():.4f}, the kernels' gradient is torch's")
EOF
  )
}

if [ "${1-}" = --installed ]; then
  scorer "$(dirname "$(command -v python)")"
  exit
fi
case ${1-} in '' | --losses) ;; *) fail "'$1' is no option; expected --losses, --installed or nothing" ;; esac

python=${SEQKD_PYTHON:-python3}
dist=${SEQKD_DIST:-$work/dist}
"$python" -m venv "$work/tools"
"$work/tools/bin/pip" install --quiet --disable-pip-version-check build twine
# The wheel is built from the source distribution, so this checks that, too.
"$work/tools/bin/python" -m build --outdir "$dist" "$root" >"$work/build.txt" 2>&1 || fail "$(tail -20 "$work/build.txt")"
"$work/tools/bin/twine" check --strict "$dist"/*
wheels=("$dist"/*.whl)
[ ${#wheels[@]} = 1 ] || fail "$dist holds ${#wheels[@]} wheels; expected the one that was built, so name an empty folder"
wheel=${wheels[0]}
case $wheel in *-py3-none-any.whl) fail "the compiled part was not built: $(grep -i error "$work/build.txt")" ;; esac

"$python" -m venv "$work/venv"
pip=("$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile -c "$root/local/constraints.txt")
"${pip[@]}" "$wheel"
scorer "$work/venv/bin"
if [ "${1-}" = --losses ]; then
  "${pip[@]}" "${wheel}[losses]"
  losses "$work/venv/bin"
fi
echo "check_wheel: $(basename "$wheel") is whole with $("$python" --version)"
