"""Archives are unpacked on every Python, and into their folder alone."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
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


def archive_of(path: Path, mode: str, count: int = 6) -> dict[str, bytes]:
    """Write an archive of files of noise, and return what they hold."""
    rng, made = np.random.default_rng(0), {}
    with tarfile.open(path, mode) as tar:
        for n in range(count):
            info = tarfile.TarInfo(f"{n}.flac")
            made[info.name] = rng.bytes(700)
            info.size = len(made[info.name])
            tar.addfile(info, io.BytesIO(made[info.name]))
    return made


def unpacked(path: Path, to: Path) -> dict[str, bytes]:
    unpack(path, to)
    return {file.name: file.read_bytes() for file in to.iterdir()}


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_no_flipped_bit_of_a_packed_archive_is_accepted(kind, tmp_path):
    """Some bits say nothing of the content, such as the time that gzip notes."""
    archive = tmp_path / f"a.tar.{kind}"
    whole = archive_of(archive, f"w:{kind}")
    assert unpacked(archive, tmp_path / "whole") == whole
    content = archive.read_bytes()
    for n, at in enumerate(np.random.default_rng(1).integers(0, 8 * len(content), 60)):
        bad = bytearray(content)
        bad[at // 8] ^= 1 << at % 8
        archive.write_bytes(bad)
        try:
            assert unpacked(archive, tmp_path / f"{n}") == whole, f"bit {at}"
        except tarfile.TarError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("kind", ["", "gz", "bz2", "xz"])
def test_no_part_of_an_archive_is_accepted(kind, tmp_path):
    """Not even where it was cut between two files, where tarfile sees the end of the archive."""
    archive = tmp_path / "a.tar"
    archive_of(archive, f"w:{kind}")
    content = archive.read_bytes()
    cuts = [512 + 1024, 2 * (512 + 1024)] if not kind else [len(content) // 3, len(content) - 3]
    for cut in (*cuts, 0):
        archive.write_bytes(content[:cut])
        with pytest.raises(tarfile.TarError):
            unpack(archive, tmp_path / f"to{cut}")


def test_a_damaged_header_is_not_the_end_and_nothing_may_follow_the_end(tmp_path):
    archive = tmp_path / "a.tar"
    archive_of(archive, "w")
    content = archive.read_bytes()
    archive.write_bytes(content[:1536] + b"x" + content[1537:])
    with pytest.raises(tarfile.TarError, match="bad checksum"):
        unpack(archive, tmp_path / "to")
    archive.write_bytes(content + content)
    with pytest.raises(tarfile.TarError, match="more follows after its end"):
        unpack(archive, tmp_path / "to2")


def test_a_disk_fault_is_no_damage(tmp_path):
    archive_of(tmp_path / "a.tar", "w")
    (tmp_path / "to").write_text("a file")
    with pytest.raises(OSError, match=r"exists|Not a directory"):
        unpack(tmp_path / "a.tar", tmp_path / "to")
