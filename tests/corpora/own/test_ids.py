"""An utterance keeps its id, and so its set, when files are added, moved to another disk or packed anew."""

from __future__ import annotations

import json
import os
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.corpora.own.audio import make_corpus
from seqkd.corpora.own.ids import make_ids
from seqkd.corpora.own.sources import Source, read_source
from seqkd.corpora.own.tables import Item
from seqkd.data.kaldi import read_data_dir
from seqkd.errors import DataError

RATE = 8000
COUNT = 30


def sound(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(path.stem.encode()))
    soundfile.write(path, 0.1 * rng.standard_normal(RATE // 4), RATE)
    return path


def sets_of(data: Path) -> dict[str, str]:
    """Set by id."""
    return {u.id: name for name in ("train", "dev", "test") for u in read_data_dir(data / name)}


def imported(data: Path, train: Path, **settings: object) -> dict[str, str]:
    make_corpus(data, nj=1, train=train, sample_rate=RATE, **settings)
    return sets_of(data)


def ids(paths: list[str], root: str = "mine", **more: object) -> list[str]:
    items = [Item("here", Path(root) / path, **more) for path in paths]
    return make_ids(Source(Path(root), "table", Path(root), {}), items, "train", {})


# ---- archives and Parquet


def shard(path: Path, names: list[str], folder: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for name in names:
            audio = sound(folder / f"{name}.flac")
            archive.add(audio, f"{name}.flac")
            audio.with_suffix(".txt").write_text(f"ab {'b' * (zlib.crc32(name.encode()) % 20)}")
            archive.add(audio.with_suffix(".txt"), f"{name}.txt")
    return path


def test_samples_that_are_added_to_an_archive_rename_no_others(tmp_path: Path) -> None:
    names = [f"{n:03d}" for n in range(COUNT)]
    (tmp_path / "shards").mkdir()
    first = shard(tmp_path / "shards" / "a.tar", names, tmp_path / "in")
    before = imported(tmp_path / "data", first)
    assert sorted(before) == names
    shard(first, ["000-a", *names, "new"], tmp_path / "in")
    after = imported(tmp_path / "data", first)
    assert before.items() <= after.items() and after.keys() - before.keys() == {"000-a", "new"}
    # Another archive, with names of the first, too: those have the archive's with them.
    shard(tmp_path / "shards" / "b.tar", ["more", "007"], tmp_path / "other")
    again = imported(tmp_path / "data", tmp_path / "shards")
    assert after.items() <= again.items() and again.keys() - after.keys() == {"more", "007-b"}


def test_rows_that_are_added_to_a_parquet_table_rename_no_others(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'seqkd[parquet]'")
    from pyarrow import parquet

    def write(numbers: list[int], named: bool) -> Path:
        rows = []
        for n in numbers:
            content = sound(tmp_path / "in" / f"{n}.wav").read_bytes()
            rows.append({"audio": {"bytes": content, "path": f"{n}.wav" if named else None}, "text": f"ab {'b' * n}"})
        parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "t.parquet")
        return tmp_path / "t.parquet"

    for named in (True, False):
        before = imported(tmp_path / f"data{named}", write(list(range(COUNT)), named))
        after = imported(tmp_path / f"data{named}", write([*range(COUNT + 3, -1, -1)], named))
        assert before.items() <= after.items() and len(after) == COUNT + 4
        assert ("7" in after) == named


# ---- files


def test_ids_of_files_of_a_folder_are_their_names() -> None:
    assert ids(["a.wav", "b/c d.wav", "b/ü.flac", "x.y.wav"]) == ["a", "b-c_d", "b-ü", "x.y"]
    assert ids(["a.wav"], start=1.5, end=3.0) == ["a-0000150-0000300"]
    assert ids(["a.wav"], speaker="Jane Doe") == ["Jane_Doe-a"]


def test_of_names_that_are_alike_the_first_stays() -> None:
    for paths in (["a.wav", "a.mp3"], ["a b.wav", "a_b.wav"], ["a/b.wav", "a-b.wav"]):
        one, other = ids(paths)
        assert [one] == ids(paths[:1])
        assert other.startswith(f"{one}-") and [one, other, "z"] == ids([*paths, "z.wav"])
        assert len(set(ids(paths, start=1.0, end=2.0))) == 2


def test_a_lossless_file_is_before_others_of_its_name(tmp_path: Path) -> None:
    for n in range(3):
        sound(tmp_path / f"{n}.wav")
    before = {item.audio.name for item in read_source(tmp_path, {}, labelled=False).items["all"]}
    soundfile.write(tmp_path / "1.mp3", np.zeros(RATE), RATE)
    source = read_source(tmp_path, {}, labelled=False)
    named = dict(
        zip(
            (item.audio.name for item in source.items["all"]),
            make_ids(source, source.items["all"], "x", {}),
            strict=True,
        )
    )
    assert before == {"0.wav", "1.wav", "2.wav"}
    assert {named[name] for name in before} == {"0", "1", "2"} and named["1.mp3"].startswith("1-")


def test_the_mount_of_a_disk_and_the_current_directory_are_no_part_of_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def manifest(mount: Path, table: Path) -> Path:
        lines = []
        for n in range(COUNT):
            audio = sound(mount / "rec" / f"s{n % 3}" / f"{n}.wav")
            lines.append(json.dumps({"audio_filepath": str(audio), "text": f"ab {'b' * n}"}))
        table.parent.mkdir(exist_ok=True)
        table.write_text("\n".join(lines) + "\n")
        return table

    first = imported(tmp_path / "data", manifest(tmp_path / "disk", tmp_path / "home" / "t.json"))
    other = imported(tmp_path / "data2", manifest(tmp_path / "mnt" / "other", tmp_path / "home" / "t.json"))
    assert first == other and all(key.partition("-")[2] for key in first)
    # Beside the table, whether that is named by a relative path or not.
    inside = manifest(tmp_path / "disk", tmp_path / "disk" / "t.json")
    monkeypatch.chdir(tmp_path / "disk")
    assert imported(tmp_path / "data3", Path("t.json")) == imported(tmp_path / "data4", inside)
    assert "rec-s1-1" in sets_of(tmp_path / "data4")
    assert len(set(ids([f"../x/{n}/rec/day/1.wav" for n in range(9)]))) == 9


# ---- white space, and names that are not UTF-8


def test_white_space_in_names_of_layouts_becomes_a_stroke(tmp_path: Path) -> None:
    lines = []
    for n in range(COUNT):
        sound(tmp_path / "wavs" / f"LJ {n}.wav")
        lines.append(f"LJ {n}|ab {'b' * n}\n")
    (tmp_path / "metadata.csv").write_text("".join(lines))
    assert sorted(imported(tmp_path / "data", tmp_path)) == sorted(f"LJ_{n}" for n in range(COUNT))


def test_white_space_in_ids_and_speakers_of_cuts_becomes_a_stroke(tmp_path: Path) -> None:
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

    made = []
    for n in range(COUNT):
        recording = Recording.from_file(sound(tmp_path / f"{n}.wav"))
        said = SupervisionSegment(f"s {n}", recording.id, 0.0, 0.25, text=f"ab {'b' * n}", speaker=f"Jane\tDoe {n}")
        made.append(MonoCut(f"c\u00a0{n}", 0.0, 0.25, 0, recording=recording, supervisions=[said]))
    CutSet.from_cuts(made).to_file(tmp_path / "cuts.jsonl")
    found = imported(tmp_path / "data", tmp_path / "cuts.jsonl")
    assert sorted(found) == sorted(f"Jane_Doe_{n}-c_{n}" for n in range(COUNT))


@pytest.mark.parametrize("place", ["file", "folder", "given"])
def test_names_that_are_not_utf8_are_a_sentence(place: str, tmp_path: Path) -> None:
    bad = os.fsdecode(b"caf\xe9")
    try:
        (tmp_path / bad).mkdir()
    except OSError:
        pytest.skip("this file system takes no such names")
    lines = ["path,text"]
    for n in range(COUNT):
        sound(tmp_path / "mine" / f"{n}.wav")
        lines.append(f"{n}.wav,ab {'b' * n}")
    (tmp_path / "mine" / "all.csv").write_text("\n".join(lines) + "\n")
    more = {"file": tmp_path / "more" / f"{bad}.wav", "folder": tmp_path / "more" / bad / "1.wav"}
    settings = {"train": tmp_path / "mine" / "all.csv", "unlabelled": tmp_path / "more"}
    if place == "given":
        settings = {"train": (tmp_path / "mine").rename(tmp_path / bad / "mine") / "all.csv"}
    else:
        soundfile.write(tmp_path / "x.wav", np.zeros(RATE), RATE)
        more[place].parent.mkdir(parents=True)
        (tmp_path / "x.wav").rename(more[place])
    with pytest.raises(DataError, match=r"caf\\xe9.*: byte 0xe9 of its name is not UTF-8; rename it\.$"):
        make_corpus(tmp_path / "data", nj=1, sample_rate=RATE, **settings)
    assert not (tmp_path / "data").exists()
