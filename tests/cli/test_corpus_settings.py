"""What is wrong with settings of a corpus, or with the names of what it is made of, is said before anything is made."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from omegaconf import OmegaConf

from seqkd.cli.main import main
from seqkd.cli.settings import parse, parser
from seqkd.config import check_corpus, compose, maker
from seqkd.errors import ConfigError

ROOT = Path(__file__).parents[2]
TASKS = {"ctc_kd": "asr", "seq2seq_ls": "translation", "music2shot": "shots", "classify_kd": "classification"}
CONFS = sorted(conf for conf in (ROOT / "egs").glob("*/*/conf") if (conf / "preset" / "default.yaml").is_file())


def options(conf: Path) -> list[str]:
    return ["--task", TASKS[conf.parent.name], "--conf", str(conf), "--preset", "default"]


def composed(conf: Path, *overrides: str):
    return compose(parse(parser("test", ""), [*options(conf), *overrides]))


@pytest.mark.parametrize("conf", CONFS, ids=lambda conf: f"{conf.parts[-3]}-{conf.parts[-2]}")
def test_every_yes_or_no_and_seed_of_every_corpus(conf: Path) -> None:
    cfg = composed(conf)
    OmegaConf.set_struct(cfg, False)
    make = maker(dict(cfg.corpus))
    assert make is not None
    wanted = {"bool": ("true or false", ["no", "", 1, None]), "int": ("a whole number", ["no", True, 1.5, None])}
    found = {name: one.annotation for name, one in inspect.signature(make).parameters.items() if name != "nj"}
    assert found["seed"] == "int"
    for name, annotation in found.items():
        says, values = wanted.get(annotation, ("", []))
        for value in values:
            other = OmegaConf.merge(cfg, {"corpus": {name: value}})
            with pytest.raises(ConfigError) as raised:
                check_corpus(other)
            assert str(raised.value) == f"corpus.{name} is {value!r}; expected {says}"


@pytest.mark.parametrize("name", ["convert", "skip_damaged", "allow_overlap", "drop_empty"])
def test_what_hydra_takes_for_text_is_no_yes(name: str) -> None:
    conf = ROOT / "egs" / "TEMPLATE" / "ctc_kd" / "conf"
    for value in ("no", "off", "n", "False_"):
        with pytest.raises(ConfigError) as raised:
            composed(conf, f"corpus.{name}={value}")
        assert str(raised.value) == f"corpus.{name} is {value!r}; expected true or false"
    assert composed(conf, f"corpus.{name}=false").corpus[name] is False
    assert composed(conf, f"corpus.{name}=true").corpus[name] is True


SOURCES = {"ctc_kd": "corpus.train", "seq2seq_ls": "corpus.source", "music2shot": "corpus.source"} | {
    "classify_kd": "corpus.folder"
}


@pytest.mark.parametrize("recipe", SOURCES)
def test_names_that_are_not_utf8_are_a_sentence(recipe: str, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    bad = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        for label in "ab":
            (bad / label).mkdir(parents=True)
    except OSError:
        pytest.skip("this file system takes no such names")
    for n in range(8):
        soundfile.write(tmp_path / "x.wav", np.random.default_rng(n).uniform(-0.1, 0.1, 16000), 16000)
        (tmp_path / "x.wav").rename(bad / "ab"[n % 2] / f"{n}.wav")  # soundfile itself writes no such names
    for name in ("a.en", "a.de"):
        (bad / name).write_text("".join(f"{n} word\n" for n in range(40)))
    given = [f"{SOURCES[recipe]}={bad / 'a.en' if recipe == 'seq2seq_ls' else bad}"]
    given += [f"corpus.target={bad / 'a.de'}", "corpus.dev=5", "corpus.test=5"] if recipe == "seq2seq_ls" else []
    conf = ROOT / "egs" / "TEMPLATE" / recipe / "conf"
    assert main(["prepare", "corpus", *options(conf), f"--data={tmp_path / 'data'}", *given]) == 1
    said = capfd.readouterr().err.splitlines()[-1]
    assert r"caf\xe9" in said and said.endswith("byte 0xe9 of its name is not UTF-8; rename it.")
    assert not (tmp_path / "data").exists()


# ---- seqkd prepare segment


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--speaker", "Jane Doe"], "--speaker is 'Jane Doe'; expected one word, such as Jane_Doe"),
        (["--speaker", " "], "--speaker is ' '; expected one word"),
        (["--speaker", "x\u00a0y"], "expected one word, such as x_y"),
        (["--min-score", "nan"], "--min-score is nan; expected a number such as -1.5"),
        (["--min-score", "inf"], "--min-score is inf; expected a number such as -1.5"),
        (["--audio", "a|.wav|"], "a|.wav|' has a line break, white space at an end or a bar"),
        (["--audio", "none.wav"], "none.wav cannot be read as audio (it does not exist)"),
        (["--audio", "half.wav"], "half.wav breaks off: "),
        (["--text", "empty.txt"], "empty.txt has no words; expected the text of x.wav"),
    ],
)
def test_segmenting_refuses_before_it_works(
    given: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("x.wav", "half.wav", "a|.wav|"):
        soundfile.write(name, np.random.default_rng(0).uniform(-0.1, 0.1, 16000), 16000, format="WAV")
    Path("half.wav").write_bytes(Path("half.wav").read_bytes()[:9999])
    Path("x.txt").write_text("some words\n")
    Path("empty.txt").write_text("\n")
    command = ["prepare", "segment", "--model", "no-model", "--out", "out"]
    command += [
        *([] if "--audio" in given else ["--audio", "x.wav"]),
        *([] if "--text" in given else ["--text", "x.txt"]),
    ]
    try:
        status = main([*command, *given])
    except SystemExit as ended:
        status = ended.code
    assert status in (1, 2)
    assert says in capsys.readouterr().err
