"""The losses and the scorer need torch, numpy and jiwer, and nothing that only recipes need."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RECIPE_ONLY = {
    *(
        "torchaudio",
        "lightning",
        "pytorch_lightning",
        "lhotse",
        "hydra",
        "omegaconf",
        "sentencepiece",
        "librosa",
    ),
    *("soundfile", "safetensors", "tensorboard", "matplotlib", "transformers", "scipy", "pandas", "sklearn"),
}

REFUSE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused!r}:
            raise ImportError("refused: " + name)

sys.meta_path.insert(0, Refuse())
"""
USE_LOSSES = """
import torch, seqkd.losses
logits = torch.randn(1, 2, 6, 4, requires_grad=True)
arguments = (torch.randn(2, 6, 4), [[1, 2], [3, 3]], [6, 5], [2, 2])
loss = seqkd.losses.cons_kd_loss(logits, *arguments, kd_weight=1.0, consistency_weight=0.2)
loss.total.backward()
assert logits.grad.isfinite().all()
"""


def run(code: str, *flags: str) -> None:
    result = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert result.returncode == 0, result.stderr


def refusing(*more: str) -> str:
    return REFUSE.format(refused=RECIPE_ONLY.union(more))


def test_losses_import_nothing_of_the_recipes():
    run(refusing("jiwer", "rapidfuzz") + USE_LOSSES)


def test_losses_import_only_the_ctc_room():
    code = "import sys, seqkd.losses; print(*[m for m in sys.modules if m.startswith('seqkd.')])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    rooms = {name.split(".")[1] for name in out.stdout.split()}
    assert rooms >= {"ctc", "losses", "native"}
    assert rooms <= {"ctc", "losses", "native", "settings", "errors", "moved"}  # moved: old names, with seqkd itself


def test_scoring_imports_neither_torch_nor_anything_of_the_recipes():
    run(refusing("torch") + "import seqkd.scoring; assert 'torch' not in sys.modules")


def requirements(name: str, found: dict[str, metadata.Distribution]) -> dict[str, metadata.Distribution]:
    """A distribution and all that it needs, extras aside."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in found:
        return found
    try:
        found[key] = metadata.distribution(name)
    except metadata.PackageNotFoundError:  # needed on another platform only
        return found
    for line in found[key].requires or []:
        if "extra ==" not in line:
            requirements(re.match(r"[\w.-]+", line)[0], found)
    return found


def link(distribution: metadata.Distribution, site: Path) -> None:
    """Every top-level file or folder of a distribution, by symlink."""
    tops = {path.parts[0] for path in distribution.files or [] if path.parts[0] not in ("..", "__pycache__")}
    for top in tops:
        if not (site / top).exists():
            (site / top).symlink_to(distribution.locate_file(top))


@pytest.mark.skipif(sys.platform == "win32", reason="symlinks need a privilege on Windows")
def test_an_environment_with_only_torch_numpy_and_jiwer(tmp_path):
    found: dict[str, metadata.Distribution] = {}
    for name in ("torch", "numpy", "jiwer"):
        for distribution in requirements(name, found).values():
            link(distribution, tmp_path)
    (tmp_path / "seqkd").symlink_to(ROOT / "seqkd")
    # -I and -S: no site-packages, no PYTHONPATH, no user site; only what is linked.
    start = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    run(
        start + "import importlib.util as u; assert not u.find_spec('lhotse') and not u.find_spec('yaml')",
        "-IS",
    )
    run(start + "import seqkd.scoring; assert 'torch' not in sys.modules", "-IS")
    run(start + USE_LOSSES, "-IS")
