"""Archives are unpacked on every Python, and into their folder alone."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from seqkd.files import unpack


def packed(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            member.size = 4 if member.isfile() else 0
            tar.addfile(member, io.BytesIO(b"text"))
    return path


def member(name: str, type: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = type, target
    return made


@pytest.fixture(params=["any", "old"])
def python(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "old":
        monkeypatch.delattr(tarfile, "data_filter", raising=False)


def test_files_and_folders(python, tmp_path):
    unpack(packed(tmp_path / "a.tar.gz", member("a/b.txt"), member("c.txt")), tmp_path / "to")
    assert (tmp_path / "to" / "a" / "b.txt").read_text() == (tmp_path / "to" / "c.txt").read_text() == "text"


@pytest.mark.parametrize(
    "bad",
    [
        member("../out"),
        member("/out"),
        member("a/../../out"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("hard", tarfile.LNKTYPE, "../out"),
        member("device", tarfile.CHRTYPE),
    ],
    ids=lambda one: one.name,
)
def test_nothing_outside(python, tmp_path, bad):
    with pytest.raises(tarfile.TarError, match="is not a file or folder inside the archive"):
        unpack(packed(tmp_path / "a.tar.gz", bad), tmp_path / "to")
    assert not (tmp_path / "out").exists() and not [*(tmp_path / "to").glob("*")]
