"""Commands in a ``wav.scp`` that become files: whole ones, of just this command and this id."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.cli.main import main
from seqkd.data.kaldi import read_data_dir
from seqkd.data.unpipe import unpipe
from seqkd.errors import DataError

RATE = 8000


def write_audio(path: Path, samples: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(RATE, 0.1) if samples is None else samples, RATE)


def piped(folder: Path, *lines: str) -> Path:
    """A data directory of these recordings, which are commands."""
    folder.mkdir()
    (folder / "wav.scp").write_text("".join(f"{line} |\n" for line in lines))
    names = [line.split()[0] for line in lines]
    (folder / "utt2spk").write_text("".join(f"{name} {name}\n" for name in names))
    return folder


@pytest.mark.parametrize("half", ["x.wav", "x.ogg", "x.flac"])
def test_commands_that_break_off_are_said(half, tmp_path):
    soundfile.write(tmp_path / half, np.random.default_rng(0).uniform(-0.5, 0.5, RATE), RATE)
    (tmp_path / half).write_bytes((tmp_path / half).read_bytes()[: (tmp_path / half).stat().st_size // 2])
    folder = piped(tmp_path / "in", f"a cat {tmp_path / half}")
    with pytest.raises(DataError, match=r"The command of 'a' writes (audio that is not whole|no audio) \(.*\): cat"):
        unpipe(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list((tmp_path / "out.audio").iterdir())


def test_ids_that_differ_in_a_slash_have_files_of_their_own(tmp_path):
    for n in range(2):
        write_audio(tmp_path / f"{n}.wav", np.full(RATE, n / 4))
    folder = piped(tmp_path / "in", f"a/b cat {tmp_path}/0.wav", f"a_b cat {tmp_path}/1.wav")
    assert unpipe(folder, tmp_path / "out") == 2
    assert [soundfile.read(u.audio)[0].mean() for u in read_data_dir(tmp_path / "out")] == pytest.approx([0, 0.25])
    (folder / "wav.scp").write_text(f"a/b cat {tmp_path}/1.wav |\na_b cat {tmp_path}/1.wav |\n")
    assert unpipe(folder, tmp_path / "out") == 1
    assert [soundfile.read(u.audio)[0].mean() for u in read_data_dir(tmp_path / "out")] == pytest.approx([0.25, 0.25])


@pytest.mark.parametrize("named", [".", "../in", "{here}"])
def test_unpipe_takes_any_name_of_a_directory(named, tmp_path, monkeypatch, capsys):
    write_audio(tmp_path / "x.wav")
    monkeypatch.chdir(piped(tmp_path / "in", f"a cat {tmp_path}/x.wav"))
    assert main(["prepare", "--unpipe", named.format(here=tmp_path / "in"), "--yes"]) == 0
    assert len(read_data_dir(tmp_path / "in.files")) == 1


def test_unpipe_replaces_no_directory_of_the_user(tmp_path):
    write_audio(tmp_path / "x.wav")
    folder = piped(tmp_path / "in", f"a cat {tmp_path}/x.wav")
    write_audio(tmp_path / "in.files" / "mine.wav")
    with pytest.raises(DataError, match=r"in\.files is there, and was not written by seqkd \('mine\.wav' is in it"):
        unpipe(folder, tmp_path / "in.files")
    assert (tmp_path / "in.files" / "mine.wav").is_file()
