"""Archives and Parquet tables beside other things, damaged ones, and values that are no text."""

from __future__ import annotations

import errno
import io
import json
import re
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.corpora.own import parquet as own_parquet
from seqkd.corpora.own.audio import make_corpus
from seqkd.corpora.own.clips import make_corpus as make_clips
from seqkd.data.kaldi import read_data_dir
from seqkd.disk import disk_fault
from seqkd.errors import DataError

RATE = 8000
COUNT = 30


def sound(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(bytes(path)))
    soundfile.write(path, 0.1 * rng.standard_normal(RATE // 4), RATE)
    return path


def packed(archive: Path, count: int = COUNT, mode: str = "w") -> Path:
    with tarfile.open(archive, mode) as tar:
        for n in range(count):
            audio = sound(archive.parent.parent / "in" / f"{archive.stem}{n}.flac")
            tar.add(audio, audio.name)
            text = audio.with_suffix(".txt")
            text.write_text(f"ab {'b' * n}")
            tar.add(text, text.name)
    return archive


def metadata(folder: Path) -> None:
    lines = ["file_name,text", *(f"{sound(folder / f'{n}.wav').name},ab {'b' * n}" for n in range(COUNT))]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")


def ljspeech(folder: Path) -> None:
    lines = [f"{sound(folder / 'wavs' / f'{n}.wav').stem}|ab {'b' * n}\n" for n in range(COUNT)]
    (folder / "metadata.csv").write_text("".join(lines))


def splits(folder: Path) -> None:
    for name in ("train", "dev", "test"):
        metadata(folder / name)


def texts(folder: Path) -> None:
    for n in range(COUNT):
        sound(folder / f"{n}.wav").with_suffix(".txt").write_text(f"ab {'b' * n}\n")


def kaldi(folder: Path) -> None:
    (folder / "wav.scp").write_text("".join(f"u{n:02d} {sound(folder / f'{n}.wav').name}\n" for n in range(COUNT)))
    (folder / "utt2spk").write_text("".join(f"u{n:02d} u{n:02d}\n" for n in range(COUNT)))
    (folder / "text").write_text("".join(f"u{n:02d} ab {'b' * n}\n" for n in range(COUNT)))


def imported(data: Path, train: Path, **settings: object) -> int:
    make_corpus(data, nj=1, train=train, sample_rate=RATE, allow_overlap=True, **settings)
    return sum(len(read_data_dir(data / name)) for name in ("train", "dev", "test"))


OWN = {
    "metadata": (metadata, r"audio folder \(.*/metadata.csv, line 2\)"),
    "LJSpeech": (ljspeech, r"LJSpeech \(.*/metadata.csv, line 1\)"),
    "splits": (splits, r"audio folder for each of train, dev, test \(.*/train/metadata.csv, line 2\)"),
    "texts": (texts, r"folder of audio with texts \(.*/0.wav\)"),
}


@pytest.mark.parametrize("form", OWN)
def test_an_archive_takes_no_place_of_what_a_folder_holds(form: str, tmp_path: Path) -> None:
    make, named = OWN[form]
    folder = tmp_path / "mine"
    folder.mkdir()
    make(folder)
    archive = packed(folder / "backup.tar", 3)
    says = rf"mine holds {named} and tar archives \(backup\.tar\), of which only one can be meant; name its file"
    with pytest.raises(DataError, match=says):
        imported(tmp_path / "data", folder)
    assert not (tmp_path / "data").exists()
    archive.rename(tmp_path / "backup.tar")
    assert imported(tmp_path / "data", folder) in (COUNT, 3 * COUNT)


def test_an_archive_beside_tables_of_kaldi_or_audio_alone(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    kaldi(folder)
    packed(folder / "backup.tar", 3)
    assert imported(tmp_path / "data", folder) == COUNT
    for name in ("wav.scp", "utt2spk", "text"):
        (folder / name).unlink()
    more = {"unlabelled": folder}
    (tmp_path / "shards").mkdir()
    train = packed(tmp_path / "shards" / "a.tar")
    with pytest.raises(
        DataError, match=r"mine holds folder of audio \(.*\) and tar archives \(backup\.tar\), of which"
    ):
        imported(tmp_path / "data", train, **more)
    (folder / "backup.tar").unlink()
    assert imported(tmp_path / "data", train, **more) == COUNT
    assert len(read_data_dir(tmp_path / "data" / "unlabelled")) == COUNT


def test_archives_and_parquet_tables_in_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    packed(folder / "a.tar")
    (folder / "t.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"mine holds tar archives \(a\.tar\) and Parquet tables \(t\.parquet\), of"):
        imported(tmp_path / "data", folder)


# ---- damage


def test_a_damaged_archive_is_a_sentence_and_nothing_is_kept_of_it(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    archive = packed(tmp_path / "mine" / "a.tar.gz", mode="w:gz")
    content = archive.read_bytes()
    bad = bytearray(content)
    bad[-6] ^= 1  # of the checksum, which comes after all that tarfile reads
    archive.write_bytes(bad)
    for _ in range(2):
        with pytest.raises(DataError, match=r"a\.tar\.gz cannot be unpacked \(CRC check failed .*\); get it again\.$"):
            imported(tmp_path / "data", archive)
    assert not list((tmp_path / "data" / "unpacked").iterdir())
    archive.write_bytes(content)
    assert imported(tmp_path / "data", archive) == COUNT
    archive.write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be unpacked") as said:
        imported(tmp_path / "data", archive)
    assert "\n" not in str(said.value)


def test_what_an_earlier_version_unpacked_is_unpacked_again(tmp_path: Path) -> None:
    """It did not notice all damage."""
    (tmp_path / "mine").mkdir()
    archive = packed(tmp_path / "mine" / "a.tar")
    imported(tmp_path / "data", archive)
    (place,) = (tmp_path / "data" / "unpacked").iterdir()
    (place / ".seqkd").unlink()
    (place / "a7.flac").unlink()
    assert imported(tmp_path / "data", archive) == COUNT
    left = tmp_path / "data" / "unpacked" / ".tmp-0123-abc"  # of a process that was killed
    left.mkdir()
    imported(tmp_path / "data", archive)
    assert not left.exists()


def test_zstandard_says_what_unpacks_it_and_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarfile.TarFile, "OPEN_METH", {"tar": "taropen"})  # as before Python 3.14
    (tmp_path / "my shards").mkdir()
    archive = packed(tmp_path / "my shards" / "a.tar").rename(tmp_path / "my shards" / "a.tar.zst")
    with pytest.raises(DataError, match=r"is packed by Zstandard, .*; unpack it with: .*tar --zstd -xf ") as said:
        imported(tmp_path / "data", archive)
    command, place = re.search(r"unpack it with: (.*), and name (.*) in its place\.$", str(said.value)).groups()
    if shutil.which("zstd"):
        subprocess.run(["zstd", "-q", "--rm", archive, "-o", tmp_path / "a.tar.zst"], check=True)
        (tmp_path / "a.tar.zst").rename(archive)
    else:  # what tar would run to read it
        command = command.replace("--zstd ", "")
    subprocess.run(command, shell=True, check=True)
    assert imported(tmp_path / "data", Path(place)) == COUNT


def test_audio_with_texts_beside_some_files_alone(tmp_path: Path) -> None:
    texts(tmp_path / "mine")
    (tmp_path / "mine" / "7.txt").unlink()
    with pytest.raises(DataError, match=r"7\.wav has no text beside it \(1 of 30 have none\); expected it in a file"):
        imported(tmp_path / "data", tmp_path / "mine")


# ---- what is no text

VALUES = {
    "list": ["abc", "abc"],
    "object": {"en": "abc"},
    "true": True,
    "half a character": "ab \ud83d",
}
SAYS = r"is a list|is an object|is true or false|has half of a character"


def json_lines(folder: Path, field: str, value: object) -> Path:
    rows = [
        {"path": sound(folder / f"{n}.wav").name, "text": "ab", "speaker": f"s{n}", "id": f"i{n}"} for n in range(9)
    ]
    rows[3][field] = value
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "t.jsonl"


def in_archive(folder: Path, field: str, value: object) -> Path:
    with tarfile.open(folder / "a.tar", "w") as tar:
        for n in range(9):
            tar.add(sound(folder / "in" / f"{n}.flac"), f"{n}.flac")
            about = {"text": "ab", "speaker": f"s{n}"} | ({field: value} if n == 3 else {})
            (folder / "in" / f"{n}.json").write_text(json.dumps(about))
            tar.add(folder / "in" / f"{n}.json", f"{n}.json")
    return folder / "a.tar"


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize(
    ("make", "field"),
    [
        *((json_lines, field) for field in ("path", "text", "speaker", "id")),
        *((in_archive, field) for field in ("text", "speaker")),
    ],
)
def test_what_is_no_text_is_refused(
    make: Callable[[Path, str, object], Path], field: str, value: str, tmp_path: Path
) -> None:
    given = make(tmp_path, field, VALUES[value])
    with pytest.raises(DataError, match=rf"(line 4|3\.json): {field} ({SAYS})"):
        imported(tmp_path / "data", given)


def test_numbers_are_text_and_other_fields_may_be_anything(tmp_path: Path) -> None:
    rows = [
        {"path": sound(tmp_path / f"{n}.wav").name, "text": 7 + n % 3, "id": n, "words": ["a"]} for n in range(COUNT)
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert imported(tmp_path / "data", tmp_path / "t.jsonl") == COUNT
    assert {u.text for u in read_data_dir(tmp_path / "data" / "train")} == {"7", "8", "9"}


def test_classes_that_are_no_text(tmp_path: Path) -> None:
    rows = [{"path": sound(tmp_path / f"{n}.wav").name, "label": ["a"]} for n in range(9)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"t\.jsonl, line 1: label is a list \(\['a'\]\); expected text\."):
        make_clips(tmp_path / "data", nj=1, csv=tmp_path / "t.jsonl", sample_rate=RATE)


def test_texts_of_cuts_that_are_no_text(tmp_path: Path) -> None:
    from lhotse import Recording

    recording = Recording.from_file(sound(tmp_path / "a.wav")).to_dict()
    cut = {"id": "c", "start": 0, "duration": 0.25, "channel": 0, "recording": recording, "type": "MonoCut"}
    said = {"id": "s", "recording_id": "a", "start": 0, "duration": 0.25, "text": ["ab"]}
    (tmp_path / "cuts.jsonl").write_text(json.dumps({**cut, "supervisions": [said]}) + "\n")
    with pytest.raises(DataError, match=r"cuts\.jsonl, line 1: text is a list"):
        imported(tmp_path / "data", tmp_path / "cuts.jsonl")


# ---- Parquet


def parquet_table(path: Path, **changed: object) -> Path:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'seqkd[parquet]'")
    from pyarrow import parquet

    rows = []
    for n in range(9):
        store = io.BytesIO()
        soundfile.write(store, np.random.default_rng(n).uniform(-0.1, 0.1, RATE // 4), RATE, format="WAV")
        rows.append({"audio": {"bytes": store.getvalue(), "path": f"{n}.wav"}, "text": f"ab {'b' * n}"} | changed)
    parquet.write_table(arrow.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize(("value", "says"), [(["abc"], "a list"), (b"abc", "bytes"), (True, "true or false")])
def test_columns_of_parquet_that_are_no_text(value: object, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"t\.parquet, row 1: text is {says}"):
        imported(tmp_path / "data", parquet_table(tmp_path / "t.parquet", text=value))


def test_a_full_disk_is_no_damaged_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = parquet_table(tmp_path / "t.parquet")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "x")

    monkeypatch.setattr(own_parquet, "_write", full)
    with pytest.raises(OSError, match="No space left") as said:
        imported(tmp_path / "data", table)
    assert disk_fault(said.value).startswith("x cannot be written (No space left on device)")


def test_names_in_a_parquet_table_may_be_of_any_length(tmp_path: Path) -> None:
    names = [
        {"bytes": sound(tmp_path / "in" / f"{n}.wav").read_bytes(), "path": f"{'ü' * 300}{n}.wav"} for n in range(9)
    ]
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'seqkd[parquet]'")
    from pyarrow import parquet

    rows = [{"audio": name, "text": f"ab {'b' * n}"} for n, name in enumerate(names)]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "t.parquet")
    assert imported(tmp_path / "data", tmp_path / "t.parquet") == 9
