"""A user's own recordings: the forms they may come in, how they are split, and what is said of what is wrong."""

from __future__ import annotations

import codecs
import csv
import inspect
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from seqkd.corpora.own.audio import make_corpus
from seqkd.corpora.own.splits import place, split_by_hash
from seqkd.data.features import FeatureSettings, make_features
from seqkd.data.kaldi import Utterance, read_data_dir, write_data_dir
from seqkd.errors import ConfigError, DataError

RATE = 8000
SETTINGS = {"nj": 2, "sample_rate": RATE}


def message(function: Callable, *arguments, kind: type = DataError, **settings) -> str:
    with pytest.raises(kind) as raised:
        function(*arguments, **settings)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def sound(file: Path, seconds: float = 0.2, rate: int = RATE, channels: int = 1) -> Path:
    """Noise, of another kind for every path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(zlib.crc32(bytes(file))).standard_normal((round(seconds * rate), channels))
    soundfile.write(file, samples, rate)
    return file


WORDS = ("ab", "ba", "abba")


def rows(count: int, speakers: int = 5) -> list[dict[str, str]]:
    return [
        {
            "path": f"clips/{index:03d}.wav",
            "text": f"{WORDS[index % 3]} {WORDS[index // 3 % 3]}",
            "speaker": f"s{index % speakers}",
        }
        for index in range(count)
    ]


def write_table(file: Path, given: list[dict[str, str]], names: dict[str, str] | None = None) -> Path:
    """Write CSV, TSV or JSON lines by the file's name, and short audio for every path."""
    names = names or {}
    renamed = [{names.get(key, key): value for key, value in row.items()} for row in given]
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in renamed))
    else:
        with file.open("w", newline="") as opened:
            writer = csv.DictWriter(opened, renamed[0], delimiter="\t" if file.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(renamed)
    for row in given:
        sound(file.parent / row["path"])
    return file


def nothing_written(data: Path) -> bool:
    """Whether there are no sets: only what was found in the audio is kept, so that it is not decoded again."""
    return not data.exists() or {file.name for file in data.iterdir()} <= {".looks.json"}


def read(data: Path) -> dict[str, list[Utterance]]:
    return {folder.name: read_data_dir(folder) for folder in sorted(data.iterdir()) if (folder / "wav.scp").is_file()}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "mine" / "all.csv", rows(60, speakers=12))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


# ---- forms


@pytest.mark.parametrize("name", ["all.csv", "all.tsv", "all.jsonl"])
def test_tables(tmp_path, data, name, capsys):
    given = rows(60, speakers=12)
    given[0]["text"] = 'one, "two"' if name != "all.tsv" else "one  two"
    table = write_table(tmp_path / name, given)
    make_corpus(data, train=table, **SETTINGS)
    sets = read(data)
    assert set(sets) == {"train", "dev", "test"}
    found = {u.id: u for utterances in sets.values() for u in utterances}
    assert len(found) == 60
    first = found["s0-clips-000"]
    assert (first.speaker, first.text) == ("s0", " ".join(given[0]["text"].split()))
    assert first.audio.resolve() == (tmp_path / "clips" / "000.wav").resolve()
    speakers = [{u.speaker for u in utterances} for utterances in sets.values()]
    assert sum(map(len, speakers)) == 12
    said = capsys.readouterr().err
    assert f"{table} is read as: table\n" in said
    assert "dev and test are split off by speaker\n" in said
    assert "files: " in said
    assert f"at {RATE} Hz with 1 channel(s)" in said
    assert make_features(data / "dev", FeatureSettings(sample_rate=RATE, num_mel_bins=20), 1) == len(sets["dev"])


@pytest.mark.parametrize("text", ["transcription", "sentence", "transcript"])
@pytest.mark.parametrize("metadata", ["metadata.csv", "metadata.jsonl"])
def test_audio_folder(tmp_path, data, text, metadata, capsys):
    folder = write_table(tmp_path / "hub" / metadata, rows(40), {"path": "file_name", "text": text}).parent
    make_corpus(data, train=folder, **SETTINGS)
    assert sum(map(len, read(data).values())) == 40
    assert "is read as: audio folder\n" in capsys.readouterr().err


def test_audio_folder_with_splits(tmp_path, data, capsys):
    for split, count in (("train", 12), ("validation", 4), ("test", 5)):
        write_table(tmp_path / "hub" / split / "metadata.csv", rows(count), {"path": "file_name"})
    make_corpus(data, train=tmp_path / "hub", **SETTINGS, allow_overlap=True)
    assert {name: len(found) for name, found in read(data).items()} == {"train": 12, "dev": 4, "test": 5}
    said = capsys.readouterr().err
    assert "is read as: audio folder for each of train, dev, test\n" in said
    assert "split off" not in said


def kaldi(folder: Path, count: int, prefix: str = "s") -> Path:
    utterances = [
        Utterance(
            f"{prefix}{i % 5}-{i:03d}",
            sound(folder / ".." / "wav" / f"{folder.name}{i}.wav"),
            f"{prefix}{i % 5}",
            WORDS[i % 3],
        )
        for i in range(count)
    ]
    write_data_dir(folder, utterances)
    return folder


def test_kaldi_directories(tmp_path, data, capsys):
    train, test = kaldi(tmp_path / "a", 20), kaldi(tmp_path / "b", 5, "t")
    make_corpus(data, train=train, test=test, **SETTINGS, allow_overlap=True)
    sets = read(data)
    assert [(u.id, u.text) for u in sets["test"]] == [(u.id, u.text) for u in read_data_dir(test)]
    assert sorted(u.id for name in ("train", "dev") for u in sets[name]) == [u.id for u in read_data_dir(train)]
    assert "is read as: Kaldi data directory\n" in capsys.readouterr().err


def test_kaldi_segments_become_files(tmp_path, data):
    folder = tmp_path / "a"
    folder.mkdir()
    ramp = np.arange(RATE * 4) / (RATE * 8)
    soundfile.write(folder / "long.wav", ramp, RATE, subtype="PCM_16")
    count = 20
    (folder / "wav.scp").write_text("long long.wav\n")
    (folder / "segments").write_text("".join(f"s-{i:02d} long {i / 5} {i / 5 + 0.15}\n" for i in range(count)))
    (folder / "utt2spk").write_text("".join(f"s-{i:02d} s\n" for i in range(count)))
    (folder / "text").write_text("".join(f"s-{i:02d} ab\n" for i in range(count)))
    make_corpus(data, train=folder, **SETTINGS)
    sets = read(data)
    one = next(u for found in sets.values() for u in found if u.id == "s-07")
    samples, rate = soundfile.read(one.audio)
    assert (rate, len(samples)) == (RATE, round(0.15 * RATE))
    assert samples[0] == pytest.approx(ramp[round(1.4 * RATE)], abs=1e-4)
    before = {file: file.stat().st_mtime_ns for file in (data / "audio").iterdir()}
    make_corpus(data, train=folder, **SETTINGS)
    assert {file: file.stat().st_mtime_ns for file in (data / "audio").iterdir()} == before


def test_empty_transcripts_of_a_kaldi_directory_are_dropped_if_one_asks(tmp_path, data):
    folder = kaldi(tmp_path / "a", 20)
    lines = (folder / "text").read_text().splitlines()
    lines[3] = lines[3].split()[0]
    (folder / "text").write_text("\n".join(lines) + "\n")
    assert f"{folder / 'utt2spk'}, {lines[3]}: the transcript is empty (1 such" in message(
        make_corpus, data, train=folder, **SETTINGS
    )
    make_corpus(data, train=folder, **SETTINGS, drop_empty=True)
    assert sum(map(len, read(data).values())) == 19


def test_damaged_recordings_of_a_kaldi_directory_are_left_out(tmp_path, data):
    folder = tmp_path / "a"
    for n in range(20):
        sound(folder / f"{n:02d}.wav", 1.0)
    torn = folder / "07.wav"
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    (folder / "wav.scp").write_text("".join(f"r-{n:02d} {n:02d}.wav\n" for n in range(20)))
    (folder / "segments").write_text("".join(f"u-{n:02d} r-{n:02d} 0.2 -1\n" for n in range(20)))
    (folder / "utt2spk").write_text("".join(f"u-{n:02d} u-{n:02d}\n" for n in range(20)))
    (folder / "text").write_text("".join(f"u-{n:02d} ab\n" for n in range(20)))
    assert f"{torn} breaks off: its header promises" in message(make_corpus, data, train=folder, **SETTINGS)
    make_corpus(data, train=folder, **SETTINGS, skip_damaged=True)
    found = [u for one in read(data).values() for u in one]
    assert len(found) == 19 and "u-07" not in {u.id for u in found}
    assert {soundfile.info(u.audio).duration for u in found} == {0.8}


def test_unlabelled_folder_of_audio(tmp_path, data, table):
    for index in range(7):
        sound(tmp_path / "more" / f"day {index % 2}" / f"{index}.flac")
    make_corpus(data, train=table, unlabelled=tmp_path / "more", **SETTINGS)
    found = read(data)["unlabelled"]
    assert len(found) == 7
    assert {u.text for u in found} == {None}
    assert all(" " not in u.id and u.speaker == u.id for u in found)


def test_unlabelled_table_with_transcripts_is_taken_without(tmp_path, data, table):
    more = write_table(tmp_path / "more" / "more.csv", rows(5))
    make_corpus(data, train=table, unlabelled=more, **SETTINGS)
    found = read(data)["unlabelled"]
    assert {u.text for u in found} == {None}
    assert len({u.id for u in found} & {u.id for u in read(data)["train"]}) == 0  # the same names, other files


def test_own_sets_and_columns_of_other_names(tmp_path, data):
    names = {"path": "datei", "text": "satz", "speaker": "wer"}
    tables = {
        name: write_table(tmp_path / name / "t.csv", rows(count), names)
        for name, count in (("train", 9), ("dev", 3), ("test", 4))
    }
    given = {"path": "datei", "text": "satz", "speaker": "wer", "id": None}
    make_corpus(data, **tables, columns=given, **SETTINGS, allow_overlap=True)
    assert {name: len(found) for name, found in read(data).items()} == {"train": 9, "dev": 3, "test": 4}
    assert {u.speaker for u in read(data)["train"]} == {f"s{i}" for i in range(5)}


def test_audio_root_and_ids(tmp_path, data):
    given = [{"id": f"x{i}", "path": f"{i}.wav", "text": "ab"} for i in range(30)]
    table = write_table(tmp_path / "lists" / "all.tsv", given)
    (tmp_path / "lists").rename(tmp_path / "clips")
    (tmp_path / "lists").mkdir()
    (tmp_path / "clips" / "all.tsv").rename(table)
    make_corpus(data, train=table, audio_root=tmp_path / "clips", **SETTINGS)
    assert sorted(u.id for found in read(data).values() for u in found) == sorted(f"x{i}" for i in range(30))


def test_what_windows_writes_is_read(tmp_path, data, table):
    make_corpus(data, train=table, **SETTINGS)
    content = table.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n").replace(b",", b";")
    table.write_bytes(codecs.BOM_UTF8 + content)
    make_corpus(tmp_path / "other", train=table, **SETTINGS)
    assert (tmp_path / "other" / "train" / "text").read_text() == (data / "train" / "text").read_text()


def test_a_second_import_changes_nothing(data, table):
    make_corpus(data, train=table, **SETTINGS)
    for name in read(data):
        make_features(data / name, FeatureSettings(sample_rate=RATE, num_mel_bins=20), 1)
    made = {file: file.stat().st_mtime_ns for file in data.rglob("*") if file.name != "origin.json"}
    make_corpus(data, train=table, **{**SETTINGS, "nj": 5})
    assert {file: file.stat().st_mtime_ns for file in data.rglob("*") if file.name != "origin.json"} == made
    origin = json.loads((data / "origin.json").read_text())
    assert origin["split_off"]["by"] == "speaker"
    assert sum(origin["utterances"].values()) == 60


# ---- text


def test_text_is_left_alone_unless_one_asks(tmp_path, data, capsys):
    given = rows(40)
    given[3]["text"] = "Äb, ba!"
    table = write_table(tmp_path / "t.csv", given)
    make_corpus(data, train=table, **SETTINGS, split_by="utterance", seed=2)
    texts = {u.text for found in read(data).values() for u in found}
    assert "Äb, ba!" in texts
    said = capsys.readouterr().err
    assert "text is normalised by: none\n" in said
    assert "train has 5 characters: ! , a b Ä; in fewer than 5 utterances: ! , Ä (1 utterances have such)\n" in said
    make_corpus(data, train=table, **SETTINGS, normalize="lower,no-punctuation")
    assert "äb ba" in {u.text for found in read(data).values() for u in found}
    assert "text is normalised by: lower+no-punctuation.2\n" in capsys.readouterr().err


def test_empty_transcripts_are_dropped_if_one_asks(tmp_path, data, capsys):
    given = rows(40)
    given[3]["text"] = given[4]["text"] = " "
    table = write_table(tmp_path / "t.csv", given)
    make_corpus(data, train=table, **SETTINGS, drop_empty=True)
    assert sum(map(len, read(data).values())) == 38
    assert f"{table}: 2 utterances without words are left out\n" in capsys.readouterr().err


def test_dev_that_is_split_off_has_no_characters_that_train_lacks(tmp_path, data, capsys):
    given = rows(60)
    ids = [f"s{i % 5}-clips-{i:03d}" for i in range(60)]
    inside = [index for index, key in enumerate(ids) if place(key, 0) < 0.1]
    given[inside[0]]["text"] = "ab é"
    table = write_table(tmp_path / "t.csv", given)
    make_corpus(data, train=table, dev=0.1, test=0.1, split_by="utterance", **SETTINGS)
    dev_first = ids[inside[0]] in {u.id for u in read(data)["dev"]}
    assert not dev_first
    assert ids[inside[0]] not in {u.id for u in read(data)["train"]}
    said = capsys.readouterr().err
    total = len(read(data)["dev"]) + 1
    assert (
        f"1 of {total} utterances of dev have characters that train lacks ({ids[inside[0]]}: é); they are left" in said
    )


# ---- splits


def test_no_speaker_is_in_two_sets_and_places_do_not_depend_on_others():
    groups = [f"speaker{index % 200}" for index in range(1000)]
    split = split_by_hash(groups, {"dev": 0.1, "test": 0.2}, seed=3)
    where = {}
    for group, name in zip(groups, split.sets, strict=True):
        assert where.setdefault(group, name) == name
    assert not split.lent
    assert 10 <= list(where.values()).count("dev") <= 30
    assert 28 <= list(where.values()).count("test") <= 52
    more = [*[f"new{index}" for index in range(500)], *reversed(groups)]
    again = dict(zip(more, split_by_hash(more, {"dev": 0.1, "test": 0.2}, seed=3).sets, strict=True))
    assert {group: again[group] for group in where} == where
    assert split_by_hash(groups, {"dev": 0.1, "test": 0.2}, seed=4).sets != split.sets


def test_sets_are_never_empty():
    for seed in range(50):
        split = split_by_hash(["a", "b", "c", "d"], {"dev": 0.001, "test": 0.001}, seed)
        assert sorted(set(split.sets)) == ["dev", "test", "train"]
        assert set(split.lent) == {"dev", "test"}
        assert all(split.sets["abcd".index(group)] == name for name, group in split.lent.items())


def test_two_speakers_are_split_by_utterance(tmp_path, data, capsys):
    make_corpus(data, train=write_table(tmp_path / "t.csv", rows(60, speakers=2)), **SETTINGS)
    assert "dev and test are split off by utterance\n" in capsys.readouterr().err


# ---- copies


def test_other_rates_and_channels_are_converted_if_one_asks(tmp_path, data):
    table = write_table(tmp_path / "t.csv", rows(30))
    time = np.arange(16000) / 16000
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(tmp_path / "clips" / "004.wav", np.stack([tone, 0 * tone], axis=1), 16000)
    make_corpus(data, train=table, **SETTINGS, convert=True)
    found = {u.id: u for utterances in read(data).values() for u in utterances}
    copy = found["s4-clips-004"].audio
    samples, rate = soundfile.read(copy)
    assert rate == RATE
    assert copy.suffix == ".flac"
    assert len(samples) == RATE
    expected = 0.25 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    assert np.abs(samples - expected)[100:-100].max() < 2e-3
    assert found["s3-clips-003"].audio.resolve() == (tmp_path / "clips" / "003.wav").resolve()
    made = copy.stat().st_mtime_ns
    make_corpus(data, train=table, **SETTINGS, convert=True)
    assert copy.stat().st_mtime_ns == made
    soundfile.write(tmp_path / "clips" / "004.wav", tone, RATE)
    make_corpus(data, train=table, **SETTINGS, convert=True)
    assert not copy.exists()


# ---- what can be wrong


def edited(change: Callable[[str], str]) -> Callable[[Path], None]:
    def breaks(table: Path) -> None:
        table.write_text(change(table.read_text()))

    return breaks


def replaced(line: int, new: str) -> Callable[[Path], None]:
    def breaks(table: Path) -> None:
        lines = table.read_text().splitlines()
        lines[line - 1] = new
        table.write_text("\n".join(lines) + "\n")

    return breaks


FAULTS = {
    "no such path": (lambda t: t.unlink(), "{t} does not exist; mend the path."),
    "empty table": (edited(lambda _: ""), "{t} is empty; expected a line a file."),
    "header alone": (
        edited(lambda s: s.splitlines()[0] + "\n"),
        "{t} has a header and nothing else; expected a line a file.",
    ),
    "no path column": (
        replaced(1, "name,text,speaker"),
        "{t}, line 1: there is no column of audio files; found name, text, speaker; expected a header with one of "
        "path, file_name, file, filename, audio, audio_path, audio_file, wav, audio_filepath, wav_filename, or its "
        "name in corpus.columns.path.",
    ),
    "no text column": (
        replaced(1, "path,words,speaker"),
        "{t} (table) has no transcripts; expected a column named one of text, transcription, transcript, sentence (or "
        "its name in corpus.columns.text), in a Kaldi directory a file text.",
    ),
    "column twice": (
        replaced(1, "path,text,text"),
        "{t}, line 1: column 'text' is there twice; name every column once.",
    ),
    "too many fields": (
        replaced(3, "clips/001.wav,one, two,s1"),
        "{t}, line 3: found 4 columns, expected 3 (path, text, speaker); put quotes around text that holds the "
        "separator.",
    ),
    "quote not closed": (
        replaced(3, 'clips/001.wav,"one two,s1'),
        "{t}, line 61 cannot be read as CSV (unexpected end of data).",
    ),
    "no path": (replaced(3, ",one,s1"), "{t}, line 3: path is empty; expected an audio file."),
    "missing audio": (
        replaced(3, "clips/no.wav,one,s1"),
        "{t}, line 3: the audio file 'clips/no.wav' is missing; looked for {f}/clips/no.wav.",
    ),
    "file twice": (
        replaced(3, "clips/000.wav,one,s1"),
        "{t}, line 3: 'clips/000.wav' is there already, on line 2; remove one of them.",
    ),
    "empty transcript": (
        replaced(3, "clips/001.wav, ,s1"),
        "{t}, line 3: the transcript is empty (1 such in all); write it, take the line out, or set "
        "corpus.drop_empty=true to leave all of them out.",
    ),
    "not UTF-8": (
        lambda t: t.write_bytes(t.read_bytes().replace(b"ab ab", b"\xe4b ab", 1)),
        "{t}, line 2: byte 15 (0xe4) is not valid UTF-8; convert the file to UTF-8, for instance with iconv.",
    ),
    "UTF-16": (
        lambda t: t.write_text(t.read_text(), encoding="utf-16"),
        "{t}, line 1: byte 1 (0xff) is not valid UTF-8; convert the file to UTF-8, for instance with iconv.",
    ),
    "UTF-16 without mark": (
        lambda t: t.write_text(t.read_text(), encoding="utf-16-le"),
        "{t}, line 1: character 2 is a NUL; expected text: remove it, or convert the file if it is UTF-16.",
    ),
    "not audio": (
        lambda t: (t.parent / "clips/001.wav").write_text("hello"),
        "{f}/clips/001.wav cannot be read as audio (Format not recognised); mend it, or take it out of the list, or "
        "set corpus.skip_damaged=true to leave such files out.",
    ),
    "no samples": (
        lambda t: sound(t.parent / "clips/001.wav", 0.0),
        "{f}/clips/001.wav has no samples; mend it, or take it out of the list, or set "
        "corpus.skip_damaged=true to leave such files out.",
    ),
    "two rates": (
        lambda t: sound(t.parent / "clips/001.wav", rate=16000),
        "The audio has 2 sample rates: 59 files at 8000 Hz (*, say), 1 files at 16000 Hz ({f}/clips/001.wav, say); "
        "expected one: resample it, or set corpus.convert=true to have copies made.",
    ),
    "stereo": (
        lambda t: sound(t.parent / "clips/001.wav", channels=2),
        "{f}/clips/001.wav has 2 channels (1 files have more than one); expected one: mix them down, or set "
        "corpus.convert=true to have copies made.",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_one_sentence_says_what_is_wrong(table, data, name):
    breaks, expected = FAULTS[name]
    breaks(table)
    said = message(make_corpus, data, train=table, **SETTINGS)
    before, _, after = expected.format(t=table, f=table.parent).partition("*")
    assert said.startswith(before)
    assert said.endswith(after)
    assert len(said) == len(before) or after
    assert nothing_written(data)


def test_what_named_sets_share_is_counted(tmp_path, data, capsys):
    def named(name: str, seed: int, **changed: str) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        lines = ["path,text,speaker"]
        for n in range(4):
            words = f"{'a' * (seed + 1)} {'b' * (n + 1)}"
            samples = np.random.default_rng(10 * seed + n).integers(-999, 999, RATE // 2).astype(np.int16)
            soundfile.write(folder / f"{name}{n}.wav", samples, RATE)
            lines.append(f"{name}{n}.wav,{words},by-{name}{n}")
        (folder / "t.csv").write_text("\n".join(lines) + "\n")
        return folder / "t.csv"

    tables = {name: named(name, seed) for seed, name in enumerate(("train", "dev", "test"))}
    make_corpus(data, **tables, **SETTINGS)
    assert "overlap" not in json.loads((data / "origin.json").read_text())

    train, test = tables["train"].parent, tables["test"].parent
    samples, _ = soundfile.read(train / "train1.wav", dtype="int16")
    soundfile.write(test / "copy.flac", samples, RATE)
    (test / "link.wav").hardlink_to(train / "train2.wav")
    with tables["test"].open("a") as file:
        file.write("copy.flac,aaa ab,new\nlink.wav,aaa ba,by-train3\n")
        sound(test / "more.wav")
        file.write("more.wav,a bb,other\n")
    said = message(make_corpus, tmp_path / "other", **tables, **SETTINGS)
    assert said == (
        f"train and test share 2 recordings ({train}/train1.wav is {test}/copy.flac, {train}/train2.wav is "
        f"{test}/link.wav) and 1 speakers (by-train3) and 1 texts ('a bb'): what is measured on such a set is better "
        "than it would be on others. Take them out of one of the sets, or set corpus.allow_overlap=true to go on."
    )
    assert nothing_written(tmp_path / "other")
    make_corpus(data, **tables, **SETTINGS, allow_overlap=True)
    assert "train and test share 2 recordings (" in capsys.readouterr().err
    origin = json.loads((data / "origin.json").read_text())
    assert origin["overlap"] == {"train, test": {"recordings": 2, "speakers": 1, "texts": 1}}


def test_other_kinds_of_faults(tmp_path, data, table):
    def said(kind: type = DataError, **settings) -> str:
        return message(make_corpus, data, kind=kind, **{**SETTINGS, "train": table, **settings})

    assert said(sample_rate=16000) == (
        "The audio has a sample rate of 8000 Hz, but features.sample_rate is 16000; set features.sample_rate=8000, or "
        "set corpus.convert=true to have copies made at 16000 Hz."
    )
    folder = table.parent / "clips"
    assert said(train=folder).startswith(f"{folder} holds audio, but no transcripts; expected a Kaldi data directory ")
    (tmp_path / "bare").mkdir()
    assert said(train=tmp_path / "bare").startswith(f"{tmp_path / 'bare'} is not what was expected; expected a Kaldi")
    assert said(unlabelled=tmp_path / "bare") == (
        f"{tmp_path / 'bare'} holds no audio; expected files named *.wav, *.flac, *.ogg, *.opus, *.mp3, *.aiff, *.aif, "
        "*.sph, *.w64, *.au, *.caf."
    )
    (tmp_path / "t.xls").write_text("x")
    assert said(train=tmp_path / "t.xls").startswith(f"{tmp_path / 't.xls'} is not what was expected: a Kaldi")
    assert said(train="none.csv") == f"none.csv does not exist in {Path.cwd()}; mend the path."
    assert (
        said(audio_root=tmp_path / "no") == f"{tmp_path / 'no'} (corpus.audio_root) is not a directory; mend the path."
    )
    assert said(columns={"text": "satz"}) == (
        f"{table}, line 1: there is no column 'satz' (corpus.columns.text); found path, text, speaker."
    )
    lines = table.read_text().splitlines()
    (table.parent / "test.csv").write_text("\n".join([lines[0], lines[5]]))
    assert said(test=table.parent / "test.csv") == (
        f"{table.parent}/clips/004.wav is in train ({table}, line 6) and in test ({table.parent}/test.csv, line 2); "
        "one set must not know the other: take it out of one of them."
    )
    own = write_table(tmp_path / "dev" / "dev.csv", [{"path": "x.wav", "text": "zebra", "speaker": "z"}])
    assert said(dev=own, allow_overlap=True) == (
        "1 of 1 utterances of dev have characters that train lacks (z-x: e r z), so that no unit can stand for them: "
        "normalise the text (corpus.normalize=lower,no-punctuation), mend it, or take them out."
    )
    assert said(normalize="no-tags,no-punctuation,lower", dev=own, allow_overlap=True).startswith(
        "1 of 1 utterances of dev"
    )
    assert said(ConfigError, train=None) == (
        "corpus.train is None; expected a directory or a table, for instance corpus.train=mine.csv."
    )
    assert said(ConfigError, dev=0.9) == "corpus.dev is 0.9, expected a number from 0.001 to 0.5."
    assert said(ConfigError, dev=None).startswith("corpus.dev is None; expected a directory or a table")
    assert said(ConfigError, split_by="speakers").startswith("corpus.split_by is 'speakers'; expected speaker, ")
    assert said(ConfigError, columns={"texts": "x"}).startswith("corpus.columns has unknown key 'texts'; known are ")
    assert said(ConfigError, normalize="upper").startswith("there is no normaliser 'upper'; known: ")
    assert nothing_written(data)


def test_faults_of_ids_and_of_folders(tmp_path, data):
    def said(folder: Path | str, **settings) -> str:
        return message(make_corpus, data, train=folder, **SETTINGS, **settings)

    given = [{"id": f"x{min(i, 8)}", "path": f"{i}.wav", "text": "ab"} for i in range(10)]
    table = write_table(tmp_path / "ids.csv", given)
    assert said(table) == f"{table}, line 11: id 'x8' is there already, on line 10; every id must be unique."
    given[9]["id"] = "x 9"
    write_table(table, given)
    assert said(table) == f"{table}, line 11: id is 'x 9'; expected one on every line, without spaces."
    given[9]["id"] = "x9"
    write_table(table, given)
    other = write_table(tmp_path / "o" / "other.csv", given[:2])
    assert said(table, dev=other) == (
        f"{other}, line 2: id 'x0' is in train ({table}, line 2), too; ids must differ between sets."
    )

    hub = tmp_path / "hub"
    write_table(hub / "metadata.csv", rows(9), {"path": "file_name"})
    sound(tmp_path / "outside.wav")
    (hub / "metadata.csv").write_text("file_name,text\n../outside.wav,ab\n")
    assert said(hub) == f"{hub}/metadata.csv, line 2: ../outside.wav is outside {hub}; expected a file of that folder."
    (hub / "metadata.jsonl").write_text("{}\n")
    assert said(hub) == f"{hub} has both metadata.csv and metadata.jsonl; keep one of them."
    (hub / "metadata.csv").unlink()
    assert said(hub).startswith(f"{hub}/metadata.jsonl, line 1: there is no column of audio files; found ; expected")
    (hub / "metadata.jsonl").write_text('{"file_name": "clips/000.wav", "text": "ab"}\n["clips/001.wav", "ab"]\n')
    assert said(hub).startswith(f'{hub}/metadata.jsonl, line 2: found \'["clips/001.wav", "ab"]\', expected an object')
    (hub / "metadata.jsonl").write_text('{"file_name": "clips/000.wav", "text": "ab"\n')
    assert said(hub).startswith(f"{hub}/metadata.jsonl, line 1 is not JSON (")
    for name in ("dev", "valid"):
        (tmp_path / "two" / name).mkdir(parents=True)
    assert said(tmp_path / "two") == f"{tmp_path / 'two'} has both dev and valid; keep one of them."

    folder = kaldi(tmp_path / "kaldi", 6)
    (folder / "text").unlink()
    assert said(folder).startswith(f"{folder} (Kaldi data directory) has no transcripts; expected a column named ")
    lonely = write_table(tmp_path / "one.csv", rows(2))
    assert said(lonely) == (
        "dev and test cannot be split off: 2 groups (speakers or utterances) are too few for 3 sets; name sets of "
        "their own (corpus.dev, corpus.test), or set corpus.split_by=utterance."
    )
    assert (
        message(make_corpus, data, train=table, split_by="speaker", kind=ConfigError, **SETTINGS)
        == "corpus.split_by is speaker, but no speakers are given; name their column in corpus.columns.speaker."
    )
    assert nothing_written(data)


def test_the_template_gives_every_setting_with_its_default():
    preset = Path(__file__).parents[3] / "egs" / "TEMPLATE" / "ctc_kd" / "conf" / "preset" / "default.yaml"
    settings = yaml.safe_load(preset.read_text(encoding="utf-8"))["corpus"]
    assert settings.pop("_target_") == f"{make_corpus.__module__}.{make_corpus.__name__}"
    assert settings.pop("sample_rate") == "${features.sample_rate}"
    assert settings.pop("columns") == {"path": None, "text": None, "speaker": None, "id": None}
    known = inspect.signature(make_corpus).parameters
    assert settings == {
        name: None if name == "train" else parameter.default
        for name, parameter in known.items()
        if name not in ("data_dir", "nj", "sample_rate", "columns")
    }
