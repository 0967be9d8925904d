"""The losses need torch alone; the scorer needs numpy and rapidfuzz, and not even torch."""

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


SCORE = """
import pathlib, seqkd.cli.main as cli
folder = pathlib.Path({folder!r})
(folder / "ref.trn").write_text("It\u2019s twenty-one {{ uh / um }} (s-1)\\n(s-2)\\n", "utf-8")
(folder / "hyp.trn").write_text("it is 21 um (s-1)\\nx;tag (s-2)\\n", "utf-8")
outputs = ["--json", str(folder / "s.json"), "--html", str(folder / "s.html"), "--align", str(folder / "a.txt")]
given = ["--ref", str(folder / "ref.trn"), "--hyp", f"x={{folder / 'hyp.trn'}}", "--normalize", "english-numbers"]
assert cli.main(["score", *given, "--utt2spk", "prefix", "--mixed", "--formatted", *outputs]) == 0
import json
assert json.loads((folder / "s.json").read_text())["systems"]["x"]["wer"]["errors"] == 1
"""
LOSSES_WITHOUT_TORCH = """
try:
    import seqkd.losses
except ModuleNotFoundError as fault:
    assert "pip install 'seqkd[losses]'" in str(fault), fault
else:
    raise AssertionError
"""


def environment(site: Path, *names: str) -> str:
    """An environment with these distributions, what they need, and seqkd; the lines that enter it."""
    found: dict[str, metadata.Distribution] = {}
    for name in names:
        for distribution in requirements(name, found).values():
            link(distribution, site)
    (site / "seqkd").symlink_to(ROOT / "seqkd")
    # -I and -S: no site-packages, no PYTHONPATH, no user site; only what is linked.
    return f"import sys; sys.path.insert(0, {str(site)!r})\n"


@pytest.mark.skipif(sys.platform == "win32", reason="symlinks need a privilege on Windows")
def test_an_environment_with_only_torch(tmp_path):
    start = environment(tmp_path, "torch")
    run(start + "import importlib.util as u; assert not u.find_spec('lhotse') and not u.find_spec('yaml')", "-IS")
    run(start + USE_LOSSES, "-IS")


@pytest.mark.skipif(sys.platform == "win32", reason="symlinks need a privilege on Windows")
def test_an_environment_for_the_scorer_alone(tmp_path):
    site, folder = tmp_path / "site", tmp_path / "files"
    site.mkdir()
    folder.mkdir()
    start = environment(site, "numpy", "rapidfuzz")
    run(start + "import importlib.util as u; assert not u.find_spec('torch') and not u.find_spec('jiwer')", "-IS")
    run(start + SCORE.format(folder=str(folder)), "-IS")
    run(start + "import seqkd.cli.main as cli; assert cli.main(['doctor']) == 0", "-IS")
    run(start + LOSSES_WITHOUT_TORCH, "-IS")


def test_torch_is_an_extra():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (base,) = re.findall(r"^dependencies = \[(.*)\]$", text, re.M)
    assert sorted(re.findall(r'"([\w-]+)', base)) == ["numpy", "rapidfuzz"]
    assert re.search(r'^losses = \["torch>=', text, re.M)
