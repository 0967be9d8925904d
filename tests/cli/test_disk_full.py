"""A disk that takes no more, at every stage: one sentence, nothing lost, and the next try carries on."""

from __future__ import annotations

import contextlib
import errno
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.cli.main import main
from seqkd.disk import disk_fault
from tests.runs import arguments
from tests.tone_corpus import make_tone_set


@contextlib.contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Let the system refuse longer files, as a full disk would; there, too, small files may still find room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def stages(exp: Path, data: Path) -> dict[str, list[str]]:
    options = arguments(
        exp, data, "systems=[kd]", "unlabelled=[]", "report.replicates=200", "book=dense", "book.seeds=1"
    )
    return {
        "prepare": ["prepare", *options],
        "teachers": ["train", "--group", "teachers", *options],
        "check": ["check-teacher", *options],
        "book": ["book", "make", *options],
        "students": ["train", "--group", "students", *options],
        "decode": ["decode", *options],
        "score": ["score", "--recipe", *options],
        "report": ["report", *options],
    }


def lasting(*roots: Path) -> dict[Path, bytes]:
    """Files that are there, but for locks and what a stage keeps to carry on."""
    return {
        path: path.read_bytes()
        for root in roots
        for path in root.rglob("*")
        if path.is_file() and "checkpoints" not in path.parts and "tensorboard" not in path.parts
    }


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 3000])
def test_every_stage(size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exp, data = tmp_path / "exp", tmp_path / "data"
    make_tone_set(data, "train", 24, seed=1)
    make_tone_set(data, "dev", 8, seed=3)
    for name, stage in stages(exp, data).items():
        before = lasting(exp, data)
        capsys.readouterr()
        with no_file_above(size):
            status = main(stage)
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("seqkd ")]
        if status == 0:  # all that this stage wrote was smaller
            assert size and name in ("check", "decode", "score"), name
            continue
        assert status == 1, name
        assert len(said) == 1 and re.search("cannot be written|make room", said[0]), (name, said)
        after = lasting(exp, data)
        assert {path: after.get(path) for path in before} == before, name  # nothing that was finished is lost
        assert not [path for path in after if path.name.startswith(".tmp")], name
        assert main(stage) == 0, name
    assert (exp / "RESULTS.md").is_file()


def test_ids_that_are_longer_than_names_of_files_may_be(tmp_path: Path) -> None:
    from seqkd.corpora.own.audio import make_corpus
    from seqkd.data.kaldi import read_data_dir

    rows = ["path,text,id"]
    for n in range(30):
        samples = np.random.default_rng(n).standard_normal((8000, 2)) / 10
        soundfile.write(tmp_path / f"{n}.wav", samples, 16000)
        rows.append(f"{n}.wav,ab,{'ü' * 300}{n:02d}")
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    make_corpus(tmp_path / "data", nj=1, train=tmp_path / "t.csv", sample_rate=8000, convert=True)
    sets = [read_data_dir(tmp_path / "data" / name) for name in ("train", "dev", "test")]
    assert len({u.audio for found in sets for u in found}) == 30
    assert all(len(u.id) == 302 for found in sets for u in found)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "exp/a"),
            "exp/a cannot be written (No space left on device); ",
        ),
        (OSError(errno.EROFS, "Read-only file system", "exp/a"), "exp/a cannot be written (Read-only file system); "),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "x"),
            "x cannot be read or written (File name too long); use shorter",
        ),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "a file cannot be written (I/O error: No "),
        (RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/2"), "a file cannot be written ("),
    ],
)
def test_a_disk_fault_is_told_from_others(error: Exception, says: str) -> None:
    assert (disk_fault(error) or "").startswith(says)
    outer = RuntimeError("training failed")
    outer.__cause__ = error
    assert disk_fault(outer) == disk_fault(error)


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError(errno.ENOENT, "No such file"), RuntimeError("(os error 2)")]
)
def test_other_faults_are_not_of_the_disk(error: Exception) -> None:
    assert disk_fault(error) is None


def test_a_file_in_place_of_the_experiment_is_a_sentence(
    tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "exp").write_text("")
    assert main(["prepare", *arguments(tmp_path / "exp", tones)]) == 1
    assert "cannot be read or written (Not a directory" in capsys.readouterr().err
