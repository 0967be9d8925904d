"""local/score.sh, as Kaldi recipes call it."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqkd.scoring import write_text, write_trn

ROOT = Path(__file__).parents[2]


def run(folder, *arguments):
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
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
        (
            ["data", "data/nothing"],
            "data/nothing has none of: hyp.jsonl hyp.trn text, lat.*.gz, scoring_kaldi/penalty_*/*.txt",
        ),
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


@pytest.fixture
def kaldi(folder):
    """A graph directory, as Kaldi makes it."""
    (folder / "exp" / "graph").mkdir()
    (folder / "exp" / "graph" / "words.txt").write_text("<eps> 0\none 1\ntwo 2\nthree 3\n")
    return folder


def test_the_graph_directory_is_no_decoding(kaldi):
    done = run(kaldi, "--cmd", "run.pl --mem 4G", "--min_lmwt", "5", "--max-lmwt=6", "data", "exp/graph", "exp/one")
    assert done.returncode == 0, done.stderr
    result = json.loads((kaldi / "exp" / "one" / "score.json").read_text())
    assert {name: system["wer"]["errors"] for name, system in result["systems"].items()} == {"exp/one": 1}


def test_what_kaldis_scripts_have_left(kaldi):
    decode = kaldi / "exp" / "tri" / "decode"
    write_text(decode / "scoring_kaldi" / "penalty_0.0" / "7.txt", {"a-1": "one", "b-1": "two"})
    write_text(decode / "scoring_kaldi" / "penalty_0.0" / "8.txt", {"a-1": "one two two"})
    write_text(decode / "scoring_kaldi" / "penalty_0.5" / "7.txt", {"a-1": "one two two", "b-1": "three"})
    done = run(kaldi, "data", "exp/graph", "exp/tri/decode")
    assert done.returncode == 0, done.stderr
    assert (decode / "wer_7_0.0").read_text() == "%WER 66.67 [ 2 / 3, 0 ins, 1 del, 1 sub ]\n%SER 100.00 [ 2 / 2 ]\n"
    assert (decode / "wer_8_0.0").read_text().startswith("%WER 66.67 [ 2 / 3, 1 ins, 1 del, 0 sub ]")
    best = "%WER 33.33 [ 1 / 3, 1 ins, 0 del, 0 sub ] exp/tri/decode/wer_7_0.5\n"
    assert (decode / "scoring_kaldi" / "best_wer").read_text() == best == done.stderr
    assert json.loads((decode / "score.json").read_text())["systems"]["exp/tri/decode"]["wer"]["errors"] == 1


TOOLS = {
    # In the place of Kaldi's: a lattice is a text, and a weight of 8 finds one word more.
    "lattice-scale": 'weight=${1#--inv-acoustic-scale=}; sh -c "${2#ark:} cat" | sed "s/$/ w$weight/"',
    "lattice-add-penalty": "cat",
    "lattice-best-path": 'sed -e "s/ w8$/ 2/" -e "s/ w[0-9]*$//"',
    "int2sym.pl": 'sed -e "s/ 1/ one/g" -e "s/ 2/ two/g" -e "s/ 3/ three/g"',
}


def test_lattices(kaldi):
    decode = kaldi / "exp" / "decode"
    decode.mkdir()
    with gzip.open(decode / "lat.1.gz", "wt") as lattice:
        lattice.write("a-1 1\n")
    for name, body in TOOLS.items():
        tool = kaldi / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f"#!/bin/sh\n{body}\n")
        tool.chmod(0o755)
    done = run(
        kaldi, "--min-lmwt", "7", "--max-lmwt", "8", "--word-ins-penalty", "0.0", "data", "exp/graph", "exp/decode"
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in decode.glob("wer_*")) == ["wer_7_0.0", "wer_8_0.0"]
    assert "wer_8_0.0" in (decode / "scoring_kaldi" / "best_wer").read_text()


def test_lattices_without_kaldi(kaldi):
    (kaldi / "exp" / "decode").mkdir()
    (kaldi / "exp" / "decode" / "lat.1.gz").write_bytes(b"")
    done = run(kaldi, "data", "exp/graph", "exp/decode")
    assert done.returncode == 2
    assert done.stderr == "score.sh: exp/decode has lattices, and Kaldi's lattice-scale is not on the PATH\n"
