"""A method from outside the package: one file of code, one of settings. It is found, trained and reported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.runs import arguments

TERMS = '''
from torch import Tensor, nn

from seqkd.losses import Features, Labels, Outputs, Term
from seqkd.settings import more_than


class Hint(Term):
    """Squared distance of a layer, linearly mapped, to the teacher's posterior. FitNets' hint, more or less."""

    source = "teacher"

    def __init__(self, *, sharpness: float = 1.0, **options) -> None:
        super().__init__(**options)
        self.sharpness = more_than(0, sharpness=sharpness)

    def setup(self, student: Features, teacher: Outputs) -> None:
        self.adaptor = nn.Linear(student.values.shape[-1], teacher.logits.shape[-1])

    def forward(self, student: Features, teacher: Outputs, labels: Labels) -> Tensor:
        apart = (self.adaptor(student.values) - teacher.probs(1 / self.sharpness)).square().sum(-1)
        return apart.masked_fill(~student.mask, 0.0).sum(-1).mean(0)
'''
SYSTEM = """
defaults:
  - kd
  - _self_

name: mine
label: Hint of mine
control: kd
isolates: the hint
objective:
  hint:
    _target_: my_terms.Hint
    layer: block1
    other_layer: output
    weight: [[0, 0.2], [1, 0.8]]
    sharpness: 2.0
"""


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of a user's own, with a module and a recipe's conf."""
    (tmp_path / "my_terms.py").write_text(TERMS)
    (tmp_path / "conf" / "system").mkdir(parents=True)
    (tmp_path / "conf" / "system" / "mine.yaml").write_text(SYSTEM)
    return tmp_path


def seqkd(outside: Path, *options: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command in the user's directory; ``path`` is on PYTHONPATH besides what is there."""
    known = [str(path)] if path else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*known, str(Path(__file__).parents[1])])}
    command = [sys.executable, "-m", "seqkd.cli.main", *options, "--conf", str(outside / "conf")]
    # Away from the module: the directory that Python itself puts first must not be what finds it.
    away = outside / "away"
    away.mkdir(exist_ok=True)
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=away, timeout=150)


def test_a_term_and_a_system_of_ones_own(outside: Path, tones: Path, tone_exp: Path) -> None:
    exp = shutil.copytree(tone_exp, outside / "exp")
    options = ["train", "--one", *arguments(exp, tones, "system=mine")]
    done = seqkd(outside, *options, path=outside)
    assert done.returncode == 0, done.stderr
    run = exp / "mine" / "seed0"
    rows = json.loads((run / "history.json").read_text())["rows"]
    assert [set(row["train"]) for row in rows] == [{"total", "ctc", "kd", "hint"}] * 3
    hints = [row["train"]["hint"] for row in rows]
    assert hints[0] > hints[-1] > 0  # its map has learned
    assert json.loads((run / "summary.json").read_text())["label"] == "Hint of mine"
    assert "my_terms.Hint" in (run / "config.yaml").read_text()
    assert not [name for name in load_file(run / "model" / "model.safetensors") if "adaptor" in name]


@pytest.mark.parametrize(
    ("overrides", "on_path", "says"),
    [
        ([], False, "is my_terms.Hint, but there is no module my_terms; is its directory on PYTHONPATH?"),
        (["system.objective.hint.sharpness=0"], True, "setting system.objective.hint.sharpness is 0; expected more th"),
        (["+system.objective.hint.sharpnes=2"], True, "system.objective.hint.sharpnes; did you mean sharpness?"),
        (["system.objective.hint.layer=block9"], True, "layer is 'block9'; expected 1 to 2"),
    ],
)
def test_a_mistake_in_it_is_one_sentence(
    outside: Path, tones: Path, tone_exp: Path, overrides: list[str], on_path: bool, says: str
) -> None:
    options = ["train", "--one", *arguments(tone_exp, tones, "system=mine", *overrides)]
    done = seqkd(outside, *options, path=outside if on_path else None)
    assert done.returncode == 1
    (*_, said) = done.stderr.strip().splitlines()
    assert said.startswith("seqkd train: ") and says in said, done.stderr
    assert "Traceback" not in done.stderr
