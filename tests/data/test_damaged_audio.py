"""Whichever way audio comes in, damage is said: damages in the rows, ways in in the columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.classification.features import ClipFeatureSettings, energies
from seqkd.corpora.own import audio as own_audio
from seqkd.corpora.own import clips as own_clips
from seqkd.corpora.speech.audio_sets import read_headers
from seqkd.data.features import FeatureSettings, make_features
from seqkd.data.kaldi import Utterance, write_data_dir
from seqkd.data.sound import look_at
from seqkd.data.whole import torn
from seqkd.deploy.audio import read_pieces
from seqkd.errors import DataError
from seqkd.shots.audio.spectrum import RATE as SONG_RATE
from seqkd.shots.audio.spectrum import measure
from seqkd.teachers.external.audio import read_speech

RATE = SONG_RATE  # one that all ways in take
NOISE = 0.1 * np.random.default_rng(0).standard_normal(3 * RATE)


def half(name: str, subtype: str | None = None, form: str | None = None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        rate = 24000 if subtype == "OPUS" else RATE
        soundfile.write(path, NOISE, rate, subtype, format=form)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return path

    return make


def plain_mp3(folder: Path) -> Path:
    """Half an MP3 file without a Xing header, as many encoders write them: the first frame is taken away."""
    path = half("x.mp3")(folder)
    soundfile.write(path, NOISE, RATE)
    content = path.read_bytes()
    second = content.index(content[:2], 4)
    path.write_bytes(content[second : len(content) // 2])
    return path


def samples(content: np.ndarray, subtype: str = "FLOAT") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        soundfile.write(folder / "x.wav", content, RATE, subtype)
        return folder / "x.wav"

    return make


def with_one(value: float) -> np.ndarray:
    return np.where(np.arange(len(NOISE)) == 2 * RATE, value, NOISE)


def text(folder: Path) -> Path:
    (folder / "x.wav").write_text("no sound at all\n" * 99)
    return folder / "x.wav"


BROKEN = r"breaks off: its header promises [\d,]+ bytes of sound, and [\d,]+ are there"
DAMAGES = {
    "half a wav": (half("x.wav"), BROKEN),
    "half a 24-bit wav": (half("x.wav", "PCM_24"), BROKEN),
    "half a wav, extensible": (half("x.wav", form="WAVEX"), BROKEN),
    "half a wav of over 4 GB": (half("x.wav", form="RF64"), BROKEN),
    "half a w64": (half("x.w64"), BROKEN),
    "half an aiff": (half("x.aiff"), BROKEN),
    "half an au": (half("x.au"), BROKEN),
    "half a sphere": (half("x.sph", form="NIST"), BROKEN),
    "half an ogg": (half("x.ogg"), BROKEN),
    "half an opus": (half("x.opus", "OPUS", "OGG"), BROKEN),
    "half an mp3": (half("x.mp3"), BROKEN),
    "half an mp3 without Xing": (plain_mp3, BROKEN),
    "half a flac": (half("x.flac"), "is damaged after|breaks off after|cannot be read as audio"),
    "half a caf": (half("x.caf"), "cannot be read as audio"),
    "NaN": (samples(with_one(np.nan)), r"no numbers?|no finite number"),
    "infinity": (samples(with_one(np.inf)), r"no numbers?|no finite number"),
    "no samples": (samples(NOISE[:0]), "no samples|lasts 0.00 s"),
    "no audio": (text, "cannot be read as audio"),
}
STEREO = {  # channels of another phase: mono ways in refuse two channels anyhow
    "antiphase": np.stack([NOISE, -NOISE], axis=1),
    "nearly antiphase": np.stack([NOISE, -0.9 * NOISE], axis=1),
}


def table(path: Path, folder: Path) -> Path:
    """A table of this file and of 39 sound ones."""
    fine = folder / "fine.wav"
    soundfile.write(fine, NOISE, RATE)
    lines = ["path,text", f"{path},ab"]
    for n in range(39):
        copy = folder / f"{n}.wav"
        soundfile.write(copy, np.roll(NOISE, n), RATE)
        lines.append(f"{copy},ab ba")
    (folder / "all.csv").write_text("\n".join(lines) + "\n")
    return folder / "all.csv"


def imported(path: Path, folder: Path, **settings: object) -> None:
    own_audio.make_corpus(folder / "data", nj=2, train=table(path, folder), sample_rate=RATE, **settings)


def prepared(path: Path, folder: Path) -> None:
    write_data_dir(folder / "set", [Utterance("u", path, "u", "ab")])
    make_features(folder / "set", FeatureSettings(sample_rate=RATE, num_mel_bins=20), 1)


def taught(path: Path, folder: Path) -> None:
    write_data_dir(folder / "set", [Utterance("u", path, "u", "ab")])
    list(read_speech(folder / "set", None, RATE))


def clip(path: Path, folder: Path) -> None:
    if fault := own_clips.look_at_audio(path).fault:
        raise DataError(f"{path} {fault}")


WAYS = {
    "import": imported,
    "import, copies": lambda path, folder: imported(path, folder, convert=True),
    "prepare": prepared,
    "transcribe": lambda path, folder: list(read_pieces(path, 16000)),
    "teacher": taught,
    "clips": clip,
    "features of clips": lambda path, folder: energies(path, ClipFeatureSettings(sample_rate=RATE)),
    "song": lambda path, folder: measure(path, 40),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_said(damage: str, way: str, tmp_path: Path) -> None:
    make, said = DAMAGES[damage]
    path = make(tmp_path)
    with pytest.raises(DataError, match=said) as raised:
        WAYS[way](path, tmp_path)
    assert path.name in str(raised.value)
    assert "\n" not in str(raised.value)
    # No sets; what was found in the audio that is sound is kept, so that it is not decoded again.
    assert not [file for file in (tmp_path / "data").glob("*") if file.name != ".looks.json"]


@pytest.mark.parametrize("way", ["import, copies", "transcribe", "clips", "features of clips"])  # songs: turned round
@pytest.mark.parametrize("phase", STEREO)
def test_channels_that_cancel_each_other_are_no_silence(phase: str, way: str, tmp_path: Path) -> None:
    path = samples(STEREO[phase])(tmp_path)
    with pytest.raises(DataError, match=r"x\.wav.* has channels that cancel each other when they are averaged"):
        WAYS[way](path, tmp_path)


def test_one_channel_can_be_chosen(tmp_path: Path) -> None:
    path = samples(np.stack([NOISE, -NOISE], axis=1))(tmp_path)
    imported(path, tmp_path, convert=True, channel=2)
    (copy,) = (tmp_path / "data" / "audio").glob("*.flac")
    assert np.abs(soundfile.read(copy)[0] + NOISE).max() < 1e-4
    (piece,) = read_pieces(path, RATE, channel=1)
    assert np.abs(piece.samples - NOISE).max() < 1e-6
    with pytest.raises(DataError, match=r"has 2 channels; expected --channel 1 to 2$"):
        list(read_pieces(path, RATE, channel=3))
    with pytest.raises(DataError, match=r"has 2 channels, but corpus\.channel is 3; mend it"):
        imported(path, tmp_path, convert=True, channel=3)
    with pytest.raises(ValueError, match=r"^corpus\.channel is for copies of one channel; set corpus\.convert=true"):
        imported(path, tmp_path, channel=1)


def test_other_stereo_is_averaged(tmp_path: Path) -> None:
    other = np.random.default_rng(1).standard_normal(len(NOISE)) / 10
    for pair in ([NOISE, NOISE], [NOISE, other], [NOISE, 0 * NOISE], [0 * NOISE, 0 * NOISE]):
        path = samples(np.stack(pair, axis=1))(tmp_path)
        assert not look_at(path).cancels
        list(read_pieces(path, RATE))


@pytest.mark.parametrize("convert", [False, True])
def test_damaged_files_are_left_out_with_a_list(convert: bool, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = half("x.wav")(tmp_path)
    imported(path, tmp_path, skip_damaged=True, convert=convert)
    data = tmp_path / "data"
    assert (data / "damaged.txt").read_text().startswith(f"{path} breaks off: its header promises ")
    sets = [(data / name / "text").read_text().splitlines() for name in ("train", "dev", "test")]
    assert sum(map(len, sets)) == 39
    said = capsys.readouterr().err
    assert f"1 damaged files are left out ({path} breaks off: " in said
    assert f"they are listed in {data / 'damaged.txt'}\n" in said
    soundfile.write(path, NOISE, RATE)
    imported(path, tmp_path, skip_damaged=True, convert=convert)
    assert not (data / "damaged.txt").exists()


def test_what_a_file_is_found_to_be_is_kept_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seqkd.corpora.own import damage

    path = tmp_path / "x.wav"
    soundfile.write(path, NOISE, RATE)
    imported(path, tmp_path)
    decoded: list[Path] = []
    monkeypatch.setattr(damage, "look_at", lambda file: decoded.append(file) or look_at(file))
    given = tmp_path / "all.csv"
    own_audio.make_corpus(tmp_path / "data", nj=2, train=given, sample_rate=RATE)
    assert decoded == []
    half("x.wav")(tmp_path)
    with pytest.raises(DataError, match=r"x\.wav breaks off"):
        own_audio.make_corpus(tmp_path / "data", nj=2, train=given, sample_rate=RATE)
    assert decoded == [path]


@pytest.mark.parametrize("name", ["x.wav", "x.aiff", "x.au", "x.w64", "x.ogg", "x.mp3", "x.sph"])
def test_every_cut_is_found_and_whole_files_are_whole(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    soundfile.write(path, NOISE, RATE, format="NIST" if name == "x.sph" else None)
    assert torn(path) is None
    content, cut = path.read_bytes(), tmp_path / f"cut-{name}"
    cuts = np.random.default_rng(0).integers(len(content) // 10, len(content), 60)
    missed = 0
    for size in cuts:
        cut.write_bytes(content[:size])
        missed += torn(cut) is None
    assert missed <= (2 if name == "x.ogg" else 0)  # a cut within a page's header leaves pages that are whole
    soundfile.write(path, NOISE[:1], RATE, format="NIST" if name == "x.sph" else None)
    assert torn(path) is None


def test_a_wav_that_was_streamed_states_no_length(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, NOISE, RATE, "PCM_16")
    content = path.read_bytes()
    at = content.index(b"data") + 4
    for size in (b"\xff\xff\xff\xff", b"\x00\xf0\xff\x7f"):  # as ffmpeg and sox write into a pipe
        path.write_bytes(content[:at] + size + content[at + 4 :])
        assert torn(path) is None
        assert look_at(path).seconds == pytest.approx(3.0)


def test_headers_alone_are_enough_for_half_a_wav(tmp_path: Path) -> None:
    path = half("x.wav")(tmp_path)
    with pytest.raises(DataError, match=rf"x\.wav {BROKEN}; mend it\.$"):
        read_headers([path], 1, "audio", "mend it")
