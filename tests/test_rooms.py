"""The rooms of the package: how large they are, and which may import which."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

from seqkd.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "seqkd"
FILES = 20  # Python files of one folder, its __init__.py apart
LINES = 400  # of one module
MORE_FILES = {"cli": len(COMMANDS) + 7, "losses": 60}  # a command is a file; a published idea is a file


def folders() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        found.setdefault(path.parent.relative_to(PACKAGE).as_posix(), []).append(path)
    return found


def test_no_folder_has_more_files_than_one_can_look_over():
    counts = {name: len([path for path in paths if path.name != "__init__.py"]) for name, paths in folders().items()}
    assert len(counts) > 15
    assert {name: count for name, count in counts.items() if count > MORE_FILES.get(name, FILES)} == {}


def test_no_module_is_longer_than_one_can_read():
    lengths = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for paths in folders().values() for path in paths
    }
    assert {path.relative_to(PACKAGE).as_posix(): lines for path, lines in lengths.items() if lines > LINES} == {}


def test_a_name_means_one_thing():
    places: dict[str, list[str]] = {}
    for path in (path for paths in folders().values() for path in paths):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path.relative_to(PACKAGE).as_posix())
    assert len(places) > 200
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


UPWARDS = {  # module, a line that is to be found there, and the edge that it adds
    "files": ("import seqkd.layout", "seqkd.files -> seqkd.layout"),
    "ctc/frames": ("import numpy", "seqkd.ctc.frames -> numpy"),
    "scoring/words": ("import torch", "seqkd.scoring.words -> torch"),
    "data/lines": ("from seqkd.models import layers", "seqkd.data.lines -> seqkd.models.layers"),
    "training/loop": ("from seqkd.shots import data", "seqkd.training.loop -> seqkd.shots.data"),
    "uptodate": ("def late():\n    from seqkd.cli import main", "seqkd.uptodate -> seqkd.cli.main"),
    "models/storage": ("from seqkd.models import ctc", ".storage -> .ctc"),
}


def test_imports_upwards_are_found(tmp_path: Path):
    """The contracts of pyproject.toml are about what they should be about. That they hold, local/test.sh checks."""
    shutil.copytree(PACKAGE, tmp_path / "seqkd", ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.yaml"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for module, (line, _) in UPWARDS.items():
        with (tmp_path / "seqkd" / f"{module}.py").open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert [edge for _, edge in UPWARDS.values() if edge not in done.stdout] == []
