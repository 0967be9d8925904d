"""Sets that are split off share no recording with train, however copies are named, kept or cut."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.corpora.own.audio import make_corpus
from seqkd.corpora.own.splits import place
from seqkd.data.kaldi import Utterance, read_data_dir
from seqkd.data.sound import look_at
from seqkd.errors import DataError

RATE = 8000
COUNT = 40


def samples(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9999, 9999, RATE // 4).astype(np.int16)


def sets_of(data: Path) -> dict[str, list[Utterance]]:
    return {name: read_data_dir(data / name) for name in ("train", "dev", "test")}


def shared(data: Path) -> set[str]:
    """Digests of recordings that two sets have."""
    digests = [{look_at(u.audio).digest for u in found} for found in sets_of(data).values()]
    return digests[0] & digests[1] | digests[0] & digests[2] | digests[1] & digests[2]


def hard_links(folder: Path, n: int) -> list[str]:
    soundfile.write(folder / f"{n}.wav", samples(n), RATE)
    (folder / f"x{(7 * n) % COUNT}-{n}.wav").hardlink_to(folder / f"{n}.wav")
    return [f"{n}.wav", f"x{(7 * n) % COUNT}-{n}.wav"]


def other_formats(folder: Path, n: int) -> list[str]:
    soundfile.write(folder / f"{n}.wav", samples(n), RATE)
    soundfile.write(folder / f"y{n}.flac", samples(n), RATE)
    return [f"{n}.wav", f"y{n}.flac"]


def other_names(folder: Path, n: int) -> list[str]:
    soundfile.write(folder / f"{n}.wav", samples(n), RATE)
    (folder / "again").mkdir(exist_ok=True)
    shutil.copy(folder / f"{n}.wav", folder / "again" / f"{n}.wav")
    return [f"{n}.wav", f"again/{n}.wav"]


@pytest.mark.parametrize("speakers", [0, 40])
@pytest.mark.parametrize("copies", [hard_links, other_formats, other_names])
def test_copies_stay_together(
    copies: Callable[[Path, int], list[str]], speakers: int, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    lines = [f"path,text{',speaker' if speakers else ''}"]
    for n in range(COUNT):
        for k, name in enumerate(copies(tmp_path, n)):
            lines.append(f"{name},ab {'b' * n}{f',s{n if k else 3 * n % COUNT}' if speakers and n < 30 else ',s99'}")
    if not speakers:
        lines = [line.removesuffix(",s99") for line in lines]
    (tmp_path / "all.csv").write_text("\n".join(lines) + "\n")
    make_corpus(tmp_path / "data", nj=2, train=tmp_path / "all.csv", dev=0.2, test=0.2, sample_rate=RATE)
    assert not shared(tmp_path / "data")
    assert sum(map(len, sets_of(tmp_path / "data").values())) == 2 * COUNT
    said = capsys.readouterr().err
    count = json.loads((tmp_path / "data" / "origin.json").read_text())["split_off"]["copies"]
    what = "are of speakers who share recordings with others" if speakers else "are copies of others or overlap"
    assert f"{count} of 80 utterances {what}: they stay in one set\n" in said
    assert speakers or count == COUNT


def test_one_file_under_two_ids_and_parts_that_overlap(tmp_path: Path) -> None:
    """As Kaldi's directories may have both."""
    long = np.concatenate([samples(n) for n in range(COUNT)])
    soundfile.write(tmp_path / "long.wav", long, RATE)
    segments = []
    for n in range(COUNT):
        start = n * 0.25
        segments.append((f"u{n:02d}a", "r1", start, start + 0.25))  # these touch, and share nothing
        if n % 4 == 1:
            segments.append((f"u{n:02d}b", "r2", start + 0.1, start + 0.3))  # of it and of the next one
    tables = {
        "wav.scp": ["r1 long.wav", "r2 long.wav"],
        "segments": [f"{key} {recording} {start:.2f} {end:.2f}" for key, recording, start, end in segments],
        "utt2spk": [f"{key} {key}" for key, *_ in segments],
        "text": [f"{key} ab {'b' * n}" for n, (key, *_) in enumerate(segments)],
    }
    for name, lines in tables.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    make_corpus(tmp_path / "data", nj=1, train=tmp_path, dev=0.2, test=0.2, sample_rate=RATE)
    where = {u.id: name for name, found in sets_of(tmp_path / "data").items() for u in found}
    for n in range(1, COUNT, 4):
        together = {where[f"u{n:02d}a"], where[f"u{n:02d}b"], where[f"u{n + 1:02d}a"]}
        assert len(together) == 1, n
    for key, name in where.items():
        if int(key[1:3]) % 4 in (0, 3):  # of those that share nothing, the place is that of the id
            at = place(key, 0)
            assert name == ("dev" if at < 0.2 else "test" if at < 0.4 else "train")


def test_a_copy_that_is_added_moves_nothing_else(tmp_path: Path) -> None:
    def imported(lines: list[str]) -> dict[str, str]:
        (tmp_path / "all.csv").write_text("\n".join(["path,text", *lines]) + "\n")
        make_corpus(tmp_path / "data", nj=1, train=tmp_path / "all.csv", sample_rate=RATE)
        return {u.id: name for name, found in sets_of(tmp_path / "data").items() for u in found}

    lines = []
    for n in range(COUNT):
        soundfile.write(tmp_path / f"{n}.wav", samples(n), RATE)
        lines.append(f"{n}.wav,ab {'b' * n}")
    before = imported(lines)
    shutil.copy(tmp_path / "7.wav", tmp_path / "copy.wav")
    after = imported([*lines, "copy.wav,ab bbbbbbb"])
    assert after.pop("copy") == before["7"] and after == before


def test_unlabelled_copies_of_what_is_split_off_are_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    lines = ["path,text"]
    for n in range(COUNT):
        soundfile.write(tmp_path / f"{n}.wav", samples(n), RATE)
        lines.append(f"{n}.wav,ab {'b' * n}")
    (tmp_path / "all.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "more").mkdir()
    settings = {"nj": 1, "train": tmp_path / "all.csv", "sample_rate": RATE, "unlabelled": tmp_path / "more"}
    for n in range(COUNT):
        soundfile.write(tmp_path / "more" / f"m{n}.flac", samples(n), RATE)
    with pytest.raises(
        DataError, match=r"unlabelled and dev share \d+ recordings .* unlabelled and test share \d+ rec"
    ):
        make_corpus(tmp_path / "data", **settings)
    make_corpus(tmp_path / "data", **settings, allow_overlap=True)
    assert "unlabelled and test share" in capsys.readouterr().err
    assert json.loads((tmp_path / "data" / "origin.json").read_text())["overlap"]["unlabelled, test"]["recordings"] > 0


def test_speakers_and_texts_of_sets_that_are_split_off_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """By which speakers or texts are shared is not the user's choice then: it is said, and no reason to stop."""
    lines = ["path,text,speaker"]
    for n in range(COUNT):
        soundfile.write(tmp_path / f"{n}.wav", samples(n), RATE)
        lines.append(f"{n}.wav,ab {'b' * (n % 3)},s{n % 2}")
    (tmp_path / "all.csv").write_text("\n".join(lines) + "\n")
    make_corpus(tmp_path / "data", nj=1, train=tmp_path / "all.csv", sample_rate=RATE, test=0.3)
    assert "train and test share 2 speakers (s0, s1) and 3 texts ('ab', " in capsys.readouterr().err
    counts = json.loads((tmp_path / "data" / "origin.json").read_text())["overlap"]["train, test"]
    assert counts == {"speakers": 2, "texts": 3}
