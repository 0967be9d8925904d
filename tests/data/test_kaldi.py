import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.data.kaldi import Utterance, check_audio, read_data_dir, write_data_dir
from seqkd.errors import DataError

RATE = 16000


def write_audio(path: Path, samples=None, rate=RATE, subtype="PCM_16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if samples is None:
        samples = 0.1 * np.sin(np.arange(rate // 10))  # 0.1 s
    soundfile.write(path, samples, rate, subtype)
    return path


@pytest.fixture
def data(tmp_path):
    """A valid directory of two speakers and three utterances."""
    directory = tmp_path / "data" / "train"
    directory.mkdir(parents=True)
    for name in ("a-1", "a-2", "b-1"):
        write_audio(directory / "wav" / f"{name}.wav")
    tables = {
        "wav.scp": "a-1 wav/a-1.wav\na-2 wav/a-2.wav\nb-1 wav/b-1.wav\n",
        "text": "a-1 one two\na-2 three\nb-1 four  five six\n",
        "utt2spk": "a-1 a\na-2 a\nb-1 b\n",
        "spk2utt": "a a-1 a-2\nb b-1\n",
    }
    for name, content in tables.items():
        (directory / name).write_text(content)
    return directory


def fault(directory) -> str:
    with pytest.raises(DataError) as caught:
        read_data_dir(directory)
    return str(caught.value)


def test_valid_directory(data):
    utterances = read_data_dir(data)
    assert [u.id for u in utterances] == ["a-1", "a-2", "b-1"]
    assert [u.text for u in utterances] == ["one two", "three", "four five six"]
    assert [u.speaker for u in utterances] == ["a", "a", "b"]
    durations = check_audio(utterances, RATE, nj=2)
    assert durations == pytest.approx({"a-1": 0.1, "a-2": 0.1, "b-1": 0.1})


def test_unlabelled_without_text(data):
    (data / "text").unlink()
    (data / "spk2utt").unlink()
    assert [u.text for u in read_data_dir(data)] == [None] * 3


def test_missing_directory(tmp_path):
    assert fault(tmp_path / "none") == (
        f"Data directory {tmp_path / 'none'} does not exist; expected a directory with wav.scp and utt2spk."
    )


@pytest.mark.parametrize("name", ["wav.scp", "utt2spk"])
def test_missing_table(data, name):
    (data / name).unlink()
    assert fault(data) == f"{data / name} is missing; a data directory needs wav.scp and utt2spk."


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("wav.scp", "", "{dir}/wav.scp is empty; expected one line an entry, each an id and an audio file."),
        (
            "text",
            "a-1 one\na-1 two\na-2 three\nb-1 x\n",
            "{dir}/text, line 2: id 'a-1' is there already, on line 1; every id must be unique, remove or rename one.",
        ),
        (
            "utt2spk",
            "a-1 a\nb-1 b\na-2 a\n",
            "{dir}/utt2spk, line 3: 'a-2' comes after 'b-1', but lines must be sorted by the first field; "
            "sort the file with: LC_ALL=C sort -k1,1 -o {dir}/utt2spk {dir}/utt2spk",
        ),
        (
            "text",
            "a-1 one\nb-1 x\n",
            "{dir}/utt2spk, line 2: id 'a-2' is not in {dir}/text; add it there or remove it here.",
        ),
        (
            "text",
            "a-1 one\na-2 two\na-3 three\na-4 four\nb-1 x\n",
            "{dir}/text, line 3: id 'a-3' is not in {dir}/utt2spk (2 such ids in all); add it there or remove it here.",
        ),
        (
            "wav.scp",
            "a-1 wav/a-1.wav\na-2 wav/a-2.wav\n",
            "{dir}/utt2spk, line 3: id 'b-1' is not in {dir}/wav.scp; add it there or remove it here.",
        ),
        (
            "utt2spk",
            "a-1 a\na-2\nb-1 b\n",
            "{dir}/utt2spk, line 2: found only 'a-2', expected an utterance id and a speaker id.",
        ),
        (
            "utt2spk",
            "a-1 a\na-2 a x\nb-1 b\n",
            "{dir}/utt2spk, line 2: found 3 fields for 'a-2', expected two: an utterance id and a speaker id.",
        ),
        (
            "text",
            "a-1 one\n\na-2 two\nb-1 x\n",
            "{dir}/text, line 2 is blank; expected an utterance id and a transcript; remove the line.",
        ),
        (
            "text",
            "a-1 one\na-2 \nb-1 x\n",
            "{dir}/text, line 2: the transcript of 'a-2' is empty; write it, or remove the utterance from every file.",
        ),
        (
            "text",
            "a-1 one\r\na-2 two\r\nb-1 x\r\n",
            "{dir}/text, line 1 ends in a carriage return; expected Unix line ends, convert the file with dos2unix.",
        ),
        (
            "wav.scp",
            "a-1 wav/a-1.wav\na-2 touch {dir}/pwned |\nb-1 wav/b-1.wav\n",
            "{dir}/wav.scp, line 2: 'a-2' is a command ('touch {dir}/pwned |'), expected an audio file; "
            "commands in data files are not executed. To see which there are, and have them write files once, run: "
            "seqkd prepare --unpipe {dir}",
        ),
        (
            "wav.scp",
            "a-1 wav/a-1.wav\na-2 wav/none.wav\nb-1 wav/b-1.wav\n",
            "{dir}/wav.scp, line 2: the audio file of 'a-2' is missing; looked for {dir}/wav/none.wav or wav/none.wav.",
        ),
        (
            "spk2utt",
            "a a-1\nb a-2 b-1\n",
            "{dir}/spk2utt, line 2: utterance 'a-2' is given to speaker 'b', but utt2spk says 'a'; "
            "make spk2utt anew from utt2spk, or delete it (it is optional).",
        ),
        (
            "spk2utt",
            "a a-1\nb b-1\n",
            "{dir}/spk2utt: utterance 'a-2' (line 2 of utt2spk) is missing for speaker 'a'; "
            "make spk2utt anew from utt2spk, or delete it (it is optional).",
        ),
        (
            "utt2dur",
            "a-1 0.1\na-2 nan\nb-1 0.1\n",
            "{dir}/utt2dur, line 2: duration 'nan' of 'a-2', expected seconds.",
        ),
        (
            "utt2dur",
            "a-1 0.1\na-2 0\nb-1 0.1\n",
            "{dir}/utt2dur, line 2: duration '0' of 'a-2', expected seconds.",
        ),
        (
            "utt2dur",
            "a-1 0.1\nb-1 0.1\n",
            "{dir}/utt2spk, line 2: id 'a-2' is not in {dir}/utt2dur; add it there or remove it here.",
        ),
        (
            "utt2dur",
            "a-1 0.1\na-2 0.1\na-3 0.1\nb-1 0.1\n",
            "{dir}/utt2dur, line 3: id 'a-3' is not in {dir}/utt2spk; add it there or remove it here.",
        ),
    ],
)
def test_faults_of_tables(data, name, content, message):
    (data / name).write_text(content.format(dir=data), newline="")
    assert fault(data) == message.format(dir=data)
    assert not (data / "pwned").exists()


def test_invalid_utf8(data):
    (data / "text").write_bytes(b"a-1 one\na-2 caf\xe9\nb-1 x\n")
    assert fault(data) == (
        f"{data}/text, line 2: byte 8 (0xe9) is not valid UTF-8; convert the file to UTF-8, for instance with iconv."
    )


def test_order_is_that_of_bytes(data):
    # Upper case before lower case, and "é" after "z": a locale's order would differ.
    names = ["B-1", "a-1", "z-1", "é-1"]
    (data / "spk2utt").unlink()
    for table, value in (("wav.scp", "wav/a-1.wav"), ("text", "one"), ("utt2spk", "s")):
        (data / table).write_text("".join(f"{name} {value}\n" for name in names), encoding="utf-8")
    with pytest.warns(UserWarning):
        assert [u.id for u in read_data_dir(data)] == names


def test_speaker_that_is_no_prefix_is_a_warning(data):
    (data / "utt2spk").write_text("a-1 a\na-2 x\nb-1 b\n")
    (data / "spk2utt").unlink()
    with pytest.warns(UserWarning, match=r"utt2spk, line 2: speaker id 'x' is not a prefix of .*'a-2' \(1 such"):
        read_data_dir(data)


def test_segments(data):
    (data / "segments").write_text("a-1 rec 0 0.04\na-2 rec 0.04 0.1\nb-1 rec 0.05 0.105\n")
    (data / "wav.scp").write_text("rec wav/a-1.wav\n")
    utterances = read_data_dir(data)
    assert [(u.start, u.end) for u in utterances] == [(0, 0.04), (0.04, 0.1), (0.05, 0.1)]
    assert check_audio(utterances) == pytest.approx({"a-1": 0.04, "a-2": 0.06, "b-1": 0.05})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a-2 rec 0.05 0.02", "segment 'a-2' ends at 0.02 s, not after its start at 0.05 s."),
        (
            "a-2 rec 0.05 3",
            "segment 'a-2' ends at 3 s, past the end of recording 'rec', which lasts 0.10 s.",
        ),
        ("a-2 rec 0.05 x", "start '0.05' and end 'x' of 'a-2', expected seconds from 0 on."),
        ("a-2 rec -1 0.05", "start '-1' and end '0.05' of 'a-2', expected seconds from 0 on."),
        (
            "a-2 rec 0.05",
            "found 3 fields for 'a-2', expected four: an utterance id, a recording id, a start and an end in seconds.",
        ),
        ("a-2 other 0 0.05", "recording 'other' of 'a-2' is not in wav.scp; add it there."),
    ],
)
def test_faults_of_segments(data, line, message):
    (data / "wav.scp").write_text("rec wav/a-1.wav\n")
    (data / "segments").write_text(f"a-1 rec 0 0.04\n{line}\nb-1 rec 0.05 0.1\n")
    assert fault(data) == f"{data}/segments, line 2: {message}"


def audio_fault(path: Path, rate=RATE) -> str:
    with pytest.raises(DataError) as caught:
        check_audio([Utterance("u-1", path, "u", "one")], rate)
    return str(caught.value)


def test_wrong_sample_rate(tmp_path):
    path = write_audio(tmp_path / "x.wav", rate=8000)
    assert audio_fault(path) == (
        f"Utterance 'u-1', {path}: sample rate is 8000 Hz, expected 16000 Hz; resample the audio, "
        "or set the sample rate of the features to that of the audio."
    )


def test_two_channels(tmp_path):
    path = write_audio(tmp_path / "x.wav", np.zeros((100, 2)))
    assert audio_fault(path) == f"Utterance 'u-1', {path}: has 2 channels, expected one; mix them down or pick one."


def test_no_samples(tmp_path):
    path = write_audio(tmp_path / "x.wav", np.zeros(0))
    assert audio_fault(path) == (
        f"Utterance 'u-1', {path}: has no samples; remove the utterance or write its audio again."
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(tmp_path, value):
    samples = np.zeros(100)
    samples[[40, 60]] = value
    path = write_audio(tmp_path / "x.wav", samples, subtype="FLOAT")
    assert audio_fault(path) == (
        f"Utterance 'u-1', {path}: has a sample that is no number at 0.00 s; remove the utterance or write its audio "
        "again."
    )


@pytest.mark.parametrize("content", [b"", b"not audio at all", None])
def test_damaged_files(tmp_path, content):
    path = tmp_path / "x.flac"
    if content is None:  # a FLAC file that ends half-way
        whole = write_audio(path, np.random.default_rng(0).uniform(-0.5, 0.5, RATE)).read_bytes()
        content = whole[: len(whole) // 2]
    path.write_bytes(content)
    message = audio_fault(path)
    assert message.startswith(f"Utterance 'u-1', {path}: ")
    assert message.endswith("the file is damaged or of an unknown format.") or "is damaged after" in message


def test_several_faults_are_counted(tmp_path):
    utterances = [Utterance(f"u-{i}", write_audio(tmp_path / f"{i}.wav", rate=8000), "u", None) for i in range(3)]
    with pytest.raises(DataError, match=r"^Utterance 'u-0'.*\(3 files have faults in all\.\)$"):
        check_audio(utterances, nj=3)


def test_write_and_read_back(tmp_path, monkeypatch):
    utterances = [
        Utterance(name, write_audio(tmp_path / "audio" / f"{name}.flac"), name[0], f"text of {name}")
        for name in ("b-1", "B-1", "a-2", "a-1")
    ]
    target = tmp_path / "train"
    write_data_dir(target, utterances, {u.id: 0.1 for u in utterances})
    assert (target / "wav.scp").read_text().splitlines()[0] == "B-1 ../audio/B-1.flac"
    assert (target / "spk2utt").read_text() == "B B-1\na a-1 a-2\nb b-1\n"
    assert (target / "utt2dur").read_text().splitlines()[0] == "B-1 0.1000"
    # It moves with its audio, wherever the reader stands; audio near the reader is not taken for its own.
    (tmp_path / "moved").mkdir()
    for name in ("train", "audio"):
        shutil.move(tmp_path / name, tmp_path / "moved" / name)
    write_audio(tmp_path / "elsewhere" / "audio" / "B-1.flac", np.zeros(5))
    (tmp_path / "elsewhere" / "here").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere" / "here")
    found = read_data_dir(tmp_path / "moved" / "train")
    assert [(u.id, u.speaker, u.text) for u in found] == sorted((u.id, u.speaker, u.text) for u in utterances)
    assert check_audio(found)["B-1"] == pytest.approx(0.1)


def test_paths_relative_to_the_current_directory(data, monkeypatch):
    monkeypatch.chdir(data / "wav")
    (data / "wav.scp").write_text("a-1 a-1.wav\na-2 a-2.wav\nb-1 b-1.wav\n")
    assert read_data_dir(data)[0].audio == Path("a-1.wav")


def test_writing_replaces_the_whole_directory_if_it_was_written_so(data):
    utterances = [Utterance(u.id, u.audio, u.speaker, None) for u in read_data_dir(data)]
    before = {file: file.read_bytes() for file in data.rglob("*") if file.is_file()}
    with pytest.raises(DataError, match=r"train is there, and was not written by seqkd \('\w+' is in it"):
        write_data_dir(data, utterances)
    assert {file: file.read_bytes() for file in data.rglob("*") if file.is_file()} == before
    write_data_dir(data.parent / "made", read_data_dir(data))
    (data.parent / "made" / "leftover").write_text("x")
    write_data_dir(data.parent / "made", utterances)
    assert sorted(file.name for file in (data.parent / "made").iterdir()) == [".seqkd", "spk2utt", "utt2spk", "wav.scp"]
    assert sorted(file.name for file in data.parent.iterdir()) == ["made", "train"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda us: [], "would be empty"),
        (lambda us: [*us, us[0]], "would have utterance id 'a-1' twice"),
        (lambda us: [Utterance("a-0", us[0].audio, "a", None), *us], "'a-0' has no text, but others have"),
        (lambda us: [Utterance("a-0", us[0].audio, "a", "x", 1.0, 2.0), *us], "'a-0' is a segment"),
        (lambda us: [Utterance("a 0", us[0].audio, "a", "x"), *us], "its id is 'a 0'; expected one word"),
        (lambda us: [Utterance("a\xa00", us[0].audio, "a", "x"), *us], r"its id is 'a\\xa00'; expected one word"),
        (lambda us: [Utterance("", us[0].audio, "a", "x"), *us], "its id is ''; expected one word"),
        (lambda us: [Utterance("a-0", us[0].audio, "Jane Doe", "x"), *us], "its speaker is 'Jane Doe'; expected one"),
        (lambda us: [Utterance("a-0", us[0].audio, "a", "x\ny"), *us], "the transcript of 'a-0' has a line break"),
        (
            lambda us: [Utterance("a-0", Path("caf\udce9.wav"), "a", "x"), *us],
            r"caf\\xe9.wav: byte 0xe9 of its name is",
        ),
    ],
)
def test_directories_that_cannot_be_written(data, tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        write_data_dir(tmp_path / "new", change(read_data_dir(data)))
    assert not (tmp_path / "new").exists()


# ---- Kaldi's and ESPnet's ways


def segmented(folder: Path, *segments: str, texts: str = "ab") -> Path:
    folder.mkdir()
    write_audio(folder / "long.wav", np.zeros(4 * RATE))
    keys = [line.split()[0] for line in segments]
    (folder / "wav.scp").write_text("long long.wav\n")
    (folder / "segments").write_text("".join(f"{line}\n" for line in segments))
    (folder / "utt2spk").write_text("".join(f"{key} {key}\n" for key in keys))
    (folder / "text").write_text("".join(f"{key} {texts}\n" for key in keys))
    return folder


def test_a_segment_that_ends_at_minus_one_goes_to_the_end(tmp_path):
    first, second = read_data_dir(segmented(tmp_path / "a", "u-1 long 1.5 -1", "u-2 long 0 2"))
    assert (first.start, first.end, second.end) == (1.5, 4.0, 2.0)


def test_segments_past_the_end_are_cut_with_a_count(tmp_path):
    folder = segmented(tmp_path / "a", "u-1 long 1.5 4.015", "u-2 long 0 4.005", "u-3 long 2 4.2")
    with pytest.warns(UserWarning, match=r"segments: 2 segments end after their recordings do, by 0\.200 s at most \("):
        found = read_data_dir(folder)
    assert [u.end for u in found] == [4.0, 4.0, 4.0]


def test_what_is_no_audio_file_is_named(tmp_path):
    folder = segmented(tmp_path / "a b", "u-1 long 1.5 -1")
    (folder / "wav.scp").write_text("long dump/raw/flac.ark:1234\n")
    with pytest.raises(DataError, match=r"line 1: 'long' is a place in an archive \(dump/raw/flac\.ark, of Kaldi or "):
        read_data_dir(folder)
    (folder / "wav.scp").write_text("long sph2pipe -f wav x.sph |\n")
    with pytest.raises(DataError, match=r"is a command .* run: seqkd prepare --unpipe '.*/a b'$"):
        read_data_dir(folder)


def test_a_byte_order_mark_is_named(tmp_path):
    folder = segmented(tmp_path / "a b", "u-1 long 1.5 -1")
    text = (folder / "text").read_bytes()
    (folder / "text").write_bytes(b"\xef\xbb\xbf" + text)
    with pytest.raises(
        DataError, match=r"text begins with a byte order mark \(of UTF-8\), which would be part of"
    ) as said:
        read_data_dir(folder)
    subprocess.run(str(said.value).partition("remove it with: ")[2], shell=True, check=True)
    assert (folder / "text").read_bytes() == text
    (folder / "text").write_text(text.decode(), encoding="utf-16")
    with pytest.raises(DataError, match=r"text begins with a byte order mark \(of UTF-16\)") as said:
        read_data_dir(folder)
    subprocess.run(str(said.value).partition("remove it with: ")[2], shell=True, check=True)
    assert (folder / "text").read_bytes() == text


def test_commands_are_shown_and_then_run_once(tmp_path, capsys):
    from seqkd.cli.main import main

    folder = segmented(tmp_path / "in", "u-1 long 0.5 -1", "u-2 plain 0 1")
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE)
    write_audio(folder / "plain.wav", samples)
    made = folder / "made by a command"
    (folder / "wav.scp").write_text(f"long touch '{made}'; cat {folder}/plain.wav |\nplain plain.wav\n")
    with pytest.raises(DataError, match="is a command"):
        read_data_dir(folder)
    assert main(["prepare", "--unpipe", str(folder)]) == 0
    out = capsys.readouterr().out
    assert f"long: touch '{made}'; cat" in out and "1 commands, of the programs touch (1); run only what you" in out
    assert not made.exists()
    _, *command = shlex.split(out.splitlines()[-1])
    assert main(command) == 0
    assert made.exists()
    first, second = read_data_dir(tmp_path / "in.files")
    assert np.abs(soundfile.read(first.audio)[0] - samples).max() < 1e-4
    assert second.audio.samefile(folder / "plain.wav")
    made.unlink()
    assert main(command) == 0 and not made.exists()  # what was written is kept
    (folder / "wav.scp").write_text("long false |\nplain plain.wav\n")
    assert main(command) == 1  # a command that was corrected is run, though there is a file of the other
    assert "The command of 'long' fails with status 1: false" in capsys.readouterr().err
