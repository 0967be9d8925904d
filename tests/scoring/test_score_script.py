"""local/score.sh, as Kaldi recipes call it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqkd.scoring import write_text, write_trn

ROOT = Path(__file__).parents[2]


def run(folder, *arguments):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        [ROOT / "local" / "score.sh", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.fixture
def folder(tmp_path):
    references = {"a-1": "one two", "b-1": "three"}
    write_text(tmp_path / "data" / "text", references)
    write_text(tmp_path / "data" / "utt2spk", {"a-1": "a", "b-1": "b"})
    write_text(tmp_path / "exp" / "one" / "text", references | {"a-1": "one"})
    write_trn(tmp_path / "exp" / "two" / "hyp.trn", references)
    return tmp_path


def test_decode_directories(folder):
    done = run(folder, "--cmd", "run.pl", "--costs", "4,3,3", "data", "exp/one", "exp/two/")
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "exp" / "two" / "score.json").read_text())
    assert {name: system["wer"]["errors"] for name, system in result["systems"].items()} == {"exp/one": 1, "exp/two": 0}
    assert result["options"]["costs"] == "4,3,3"
    assert result["systems"]["exp/one"]["per_speaker"].keys() == {"a", "b"}
    assert (folder / "exp" / "two" / "score.html").is_file()
    assert "REF  one two\nHYP  one *" in (folder / "exp" / "two" / "alignments.txt").read_text()
    assert "exp/one − exp/two" in done.stdout


def test_by_time(folder):
    (folder / "data" / "stm").write_text("f 1 x 0 2 one two\n")
    (folder / "exp" / "one" / "hyp.ctm").write_text("f 1 0 1 one\n")
    assert run(folder, "data", "exp/one").returncode == 0
    assert json.loads((folder / "exp" / "one" / "score.json").read_text())["systems"]["exp/one"]["wer"]["errors"] == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["data"], "expected a data directory and a decode directory; --help explains"),
        (["exp", "exp/one"], "exp has neither text nor stm to score against"),
        (["data", "data/nothing"], "data/nothing has none of: hyp.jsonl hyp.trn text"),
        (["--stage", "x", "data", "exp/one"], "--stage is 'x'; expected a whole number"),
    ],
)
def test_faults(folder, arguments, says):
    done = run(folder, *arguments)
    assert done.returncode == 2
    assert done.stderr == f"score.sh: {says}\n"


def test_help_and_stages(folder):
    assert "expected" not in run(folder, "--help").stdout
    assert "<decode-dir>" in run(folder, "--help").stdout
    assert run(folder, "--stage", "2", "data", "exp/one").returncode == 0
    assert not (folder / "exp" / "one" / "score.json").exists()
