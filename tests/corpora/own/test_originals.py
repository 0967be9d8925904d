"""An import never removes or changes what it reads, nor what others put there, wherever that lies."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.corpora.corpus import Ledger
from seqkd.corpora.own import audio, clips
from seqkd.corpora.own.convert import COPIES
from seqkd.corpora.songs import imports
from seqkd.corpora.text import parallel
from seqkd.data.kaldi import read_data_dir
from seqkd.errors import DataError
from seqkd.files import mark

RATE = 8000


def sound(path: Path, channels: int = 1, seconds: float = 0.3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(bytes(path)))
    soundfile.write(path, 0.1 * rng.standard_normal((round(seconds * RATE), channels)), RATE)
    return path


def metadata(folder: Path, count: int, form: str = "wav", channels: int = 1) -> Path:
    """A folder of recordings with metadata.csv, by speakers of its own."""
    lines = ["file_name,text,speaker"]
    for n in range(count):
        sound(folder / f"{folder.name}{n}.{form}", channels)
        lines.append(f"{folder.name}{n}.{form},{'ab ' * (n + 1)}{'ba' * len(folder.name)},{folder.name}-{n}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def kaldi(folder: Path, audio_of: Path, count: int = 12) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tables: dict[str, list[str]] = {"wav.scp": [], "utt2spk": [], "text": [], "segments": []}
    for n in range(count):
        key = f"{folder.name}-{n:02d}"
        tables["wav.scp"].append(f"{key} {sound(audio_of / f'{n}.flac')}")
        tables["segments"].append(f"{key}-a {key} 0.1 0.2")
        tables["utt2spk"].append(f"{key}-a {key}-a")
        tables["text"].append(f"{key}-a ab {'b' * n}")
    for name, lines in tables.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def classes(folder: Path) -> Path:
    for label in "ab":
        for n in range(10):
            sound(folder / label / f"{label}{n}.wav")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.name != ".looks.json"}


def splits(mine: Path) -> dict:
    for name, count in (("train", 12), ("dev", 3), ("test", 3)):
        metadata(mine / name, count)
    return {"train": mine}


def kaldi_in_the_set(mine: Path) -> dict:
    return {"train": kaldi(mine / "train", mine / "audio")}


def kaldi_splits(mine: Path) -> dict:
    for name in ("train", "dev", "test"):
        kaldi(mine / name, mine / "wavs" / name)
    return {"train": mine}


def table_in_the_set(mine: Path) -> dict:
    metadata(mine / "recordings", 12)
    (mine / "train").mkdir()
    (mine / "recordings" / "metadata.csv").rename(mine / "train" / "all.csv")
    return {"train": mine / "train" / "all.csv", "audio_root": mine / "recordings"}


def links_into_the_set(mine: Path) -> dict:
    metadata(mine / "dev", 12)
    (mine / "links").mkdir()
    for path in (mine / "dev").iterdir():
        (mine / "links" / path.name).symlink_to(path)
    return {"train": mine / "links" / "metadata.csv"}


def links_in_the_set(mine: Path) -> dict:
    metadata(mine / "recordings", 12)
    (mine / "train").mkdir()
    for path in (mine / "recordings").iterdir():
        (mine / "train" / path.name).symlink_to(path)
    return {"train": mine / "train" / "metadata.csv"}


def set_that_is_a_link(mine: Path) -> dict:
    metadata(mine / "recordings", 12)
    (mine / "train").symlink_to(mine / "recordings")
    return {"train": mine / "recordings"}


def another_set(mine: Path) -> dict:
    """Not what is read, but there: Kaldi's sets of the user, where only another one is named."""
    kaldi(mine / "test", mine / "audio")
    return {"train": metadata(mine / "recordings", 30)}


def unlabelled_above(mine: Path) -> dict:
    return {"train": metadata(mine.parent / "other", 12), "unlabelled": metadata(mine / "more", 5).parent}


WAYS = {
    one.__name__: one
    for one in (
        *(splits, kaldi_in_the_set, kaldi_splits, table_in_the_set, links_into_the_set, links_in_the_set),
        *(set_that_is_a_link, another_set, unlabelled_above),
    )
}


@pytest.mark.parametrize("convert", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_what_lies_where_a_set_goes_is_refused(way: str, convert: bool, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    settings = WAYS[way](mine)
    before = files(mine)
    with pytest.raises(
        DataError, match=r"replaced by the set|was not written by seqkd|The data directory .* lies in"
    ) as e:
        audio.make_corpus(mine, nj=1, sample_rate=RATE, convert=convert, allow_overlap=True, **settings)
    assert "\n" not in str(e.value)
    assert files(mine) == before
    audio.make_corpus(tmp_path / "data", nj=1, sample_rate=RATE, convert=True, allow_overlap=True, **settings)
    assert files(mine) == before


@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("another_set", "unlabelled_above")])
def test_so_is_what_lies_in_a_set_that_seqkd_wrote(way: str, tmp_path: Path) -> None:
    """As recordings may, which someone has put into the folder of an earlier import."""
    mine = tmp_path / "mine"
    mine.mkdir()
    settings = WAYS[way](mine)
    for name in ("train", "dev", "test"):
        if (mine / name).is_dir():
            mark(mine / name)
    before = files(mine)
    with pytest.raises(DataError, match=r" lies in .*, which is replaced by the set of that name; name another data "):
        audio.make_corpus(mine, nj=1, sample_rate=RATE, allow_overlap=True, **settings)
    assert files(mine) == before


@pytest.mark.parametrize("convert", [False, True])
def test_only_copies_that_an_import_made_are_removed(convert: bool, tmp_path: Path) -> None:
    """Recordings lie in ``audio`` of the data directory, where copies go."""
    given = metadata(tmp_path / "audio", 30, "flac", channels=2 if convert else 1)
    before = files(given)
    for _ in range(2):
        audio.make_corpus(tmp_path, nj=1, train=given, sample_rate=RATE, convert=convert)
        assert {name: content for name, content in files(given).items() if name in before} == before
    copies = {u.audio.name for name in ("train", "dev", "test") for u in read_data_dir(tmp_path / name)}
    if not convert:
        assert files(given) == before
        return
    assert len(copies) == 30 and not copies & before.keys()
    # Copies of recordings that are gone go; so they do if the import that made them was killed before its end.
    lines = (given / "metadata.csv").read_text().splitlines()
    (given / "metadata.csv").write_text("\n".join(lines[:-1]) + "\n")
    audio.make_corpus(tmp_path, nj=1, train=given, sample_rate=RATE, convert=True)
    assert len([name for name in files(given) if name in copies]) == 29
    (given / COPIES).write_text("damaged")
    audio.make_corpus(tmp_path, nj=1, train=given, sample_rate=RATE, convert=True)
    assert before.keys() <= files(given).keys()


@pytest.mark.parametrize("place", ["cl", "cl/data", "sets"])
def test_classes_are_never_replaced(place: str, tmp_path: Path) -> None:
    folder = classes(tmp_path / "cl")
    data = tmp_path / place
    if place == "sets":
        classes(data / "train")
        folder = data
    before = files(tmp_path)
    with pytest.raises(DataError, match=r"lies in|replaced by the set"):
        clips.make_corpus(data, nj=1, folder=folder, sample_rate=RATE)
    assert files(tmp_path) == before


def test_audio_of_classes_beside_copies_stays(tmp_path: Path) -> None:
    folder = classes(tmp_path / "audio" / "mine")
    loose = sound(tmp_path / "audio" / "loose.flac")
    before = files(folder)
    clips.make_corpus(tmp_path, nj=1, folder=folder, sample_rate=RATE)
    clips.make_corpus(tmp_path, nj=1, folder=folder, sample_rate=16000)
    assert files(folder) == before and loose.is_file()


def test_pairs_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for name in ("a.en", "a.de"):
        (tmp_path / "train" / name).write_text("".join(f"{name} {n} word\n" for n in range(40)))
    settings = {"nj": 1, "dev": 5, "test": 5}
    before = files(tmp_path)
    with pytest.raises(DataError, match=r"train/a\.en lies in .*train, which is replaced by the set"):
        parallel.make_corpus(
            tmp_path, source=tmp_path / "train" / "a.en", target=tmp_path / "train" / "a.de", **settings
        )
    assert files(tmp_path) == before
    (tmp_path / "train").rename(tmp_path / "texts")
    texts = {"source": tmp_path / "texts" / "a.en", "target": tmp_path / "texts" / "a.de"}
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "src").write_text("mine\n")
    with pytest.raises(DataError, match=r"dev is there, and was not written by seqkd"):
        parallel.make_corpus(tmp_path, **texts, **settings)
    (tmp_path / "dev" / "src").unlink()
    for seed in (1, 2):
        parallel.make_corpus(tmp_path, **texts, seed=seed, **settings)


@pytest.mark.parametrize("name", ["train", "unlabelled", "dev"])
def test_songs_are_never_replaced(name: str, tmp_path: Path) -> None:
    """A set that gets no songs is removed: not one that has the songs."""
    for n in range(4):
        song = sound(tmp_path / name / f"{n}.wav", seconds=12)
        song.with_suffix(".csv").write_text("start,end,type\n0,6,band\n6,12,singer\n")
    before = files(tmp_path)
    with pytest.raises(DataError, match=f"lies in .*{name}, which is replaced by the set"):
        imports.make_corpus(tmp_path, source=tmp_path, dev=0, test=0)
    assert files(tmp_path) == before


def test_songs_of_another_who_put_them_there_stay(tmp_path: Path) -> None:
    for n in range(4):
        sound(tmp_path / "songs" / f"{n}.wav", seconds=12)
    kept = sound(tmp_path / "dev" / "mine.wav")
    with pytest.raises(DataError, match=r"dev is there, and was not written by seqkd"):
        imports.make_corpus(tmp_path, source=tmp_path / "songs")
    assert kept.is_file()
    kept.unlink()
    for _ in range(2):
        imports.make_corpus(tmp_path, source=tmp_path / "songs")
    assert (tmp_path / "unlabelled" / "wav.scp").is_file()


def test_what_is_made_up_takes_no_place_of_recordings(tmp_path: Path) -> None:
    """Made corpora empty the folder of a set's audio when settings change, if it is theirs."""
    mine = sound(tmp_path / "audio" / "train" / "mine.wav")
    with pytest.raises(DataError, match=r"audio/train holds files that were not written by seqkd"):
        Ledger(tmp_path).begin_audio("train", "settings")
    made = Ledger(tmp_path).begin_audio("dev", "settings") / "made.wav"
    sound(made)
    with pytest.raises(DataError, match=r"audio/train holds files that were not written by seqkd"):
        Ledger(tmp_path).begin_audio("train", "settings")
    Ledger(tmp_path).begin_audio("dev", "others")
    assert mine.is_file() and not made.exists()
    kaldi(tmp_path / "test", tmp_path / "wavs")
    with pytest.raises(DataError, match=r"test is there, and was not written by seqkd"):
        Ledger(tmp_path).begin_audio("test", "settings")


def test_a_list_of_ones_own_is_no_list_of_damaged_files(tmp_path: Path) -> None:
    given = metadata(tmp_path / "recordings", 30)
    (tmp_path / "damaged.txt").write_text("mine")
    audio.make_corpus(tmp_path, nj=1, train=given, sample_rate=RATE)
    assert (tmp_path / "damaged.txt").read_text() == "mine"
