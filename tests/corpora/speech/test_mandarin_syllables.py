import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.corpora import debian
from seqkd.corpora.speech import mandarin_syllables
from seqkd.corpora.speech.mandarin_syllables import Syllable, make_corpus, parse_syllable
from seqkd.errors import ConfigError, DataError

FINALS = ("ㄚ", "ㄞ", "ㄢ", "ㄨ", "ㄧ", "ㄠ", "ㄤ", "ㄟ")


def record(root: Path, name: str, speakers=("3", "5")) -> None:
    for speaker in speakers:
        file = root / "usr" / "share" / "gcin-voice" / "ogg" / name / f"{speaker}.ogg"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, 0.1 * np.sin(np.arange(4410) * (0.1 + len(name) / 50)), 44100)


@pytest.fixture
def sounds(tmp_path) -> Path:
    """What the package holds, unpacked where it is looked for."""
    for initial in "ㄅㄆㄇ":
        for final in FINALS:
            for tone in ("", "4"):
                record(tmp_path / "downloads", f"{initial}{final}{tone}")
    record(tmp_path / "downloads", "ㄅ")
    record(tmp_path / "downloads", "ㄇㄚ1")
    record(tmp_path / "downloads", "ㄦ2")
    record(tmp_path / "downloads", "ㄓ", speakers="3")
    return tmp_path


def make(where: Path, **settings) -> Path:
    make_corpus(where / "data", **{"nj": 2, "sample_rate": 8000, **settings})
    return where / "data" / "all"


def table(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines()
    assert lines == sorted(lines)
    return dict(line.split(" ", 1) for line in lines)


def contents(path: Path) -> dict[str, str]:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize(
    ("name", "syllable"),
    [
        ("ㄅㄚ", Syllable("b", "a", "1")),
        ("ㄅㄚ1", Syllable("b", "a", "0")),
        ("ㄓㄨㄤ4", Syllable("zh", "uang", "4")),
        ("ㄓ3", Syllable("zh", "ih", "3")),
        ("ㄦ2", Syllable("none", "er", "2")),
        ("ㄩㄝ4", Syllable("none", "ve", "4")),
        ("ㄅ", Syllable("b", None, "1")),
        ("ㄅㄚ5", None),
        ("ㄅㄅ", None),
        ("readme", None),
        ("", None),
        ("3", None),
    ],
)
def test_names_of_syllables(name, syllable):
    assert parse_syllable(name) == syllable


def test_classes_of_a_syllable():
    syllable = Syllable("zh", "uang", "4")
    labels = [syllable.label(target) for target in ("initial", "final", "tone", "syllable")]
    assert labels == ["zh", "uang", "4", "zh-uang"]
    assert Syllable("b", None, "1").label("initial") == "b"
    assert Syllable("b", None, "1").label("final") is None
    assert Syllable("b", "a", "0").label("tone") is None


def test_folds_share_no_base_syllable_and_have_every_class(sounds, capfd):
    directory = make(sounds)
    tables = {name: table(directory / name) for name in ("wav.scp", "label", "group", "fold", "utt2spk")}
    assert len({tuple(found) for found in tables.values()}) == 1
    labels, groups, folds = tables["label"], tables["group"], tables["fold"]
    assert (directory.parent / "classes.txt").read_text().split() == ["b", "m", "p"]
    assert set(folds.values()) == {"0", "1", "2", "3"}
    of_group = defaultdict(set)
    for key, group in groups.items():
        of_group[group].add(folds[key])
        assert key == f"{tables['utt2spk'][key]}-{group}{key[-1]}"
    assert {len(found) for found in of_group.values()} == {1}
    count = Counter((labels[key], folds[key]) for key in labels)
    assert min(count[label, fold] for label in "bpm" for fold in "0123") >= 6
    assert set(tables["utt2spk"].values()) == {"liu", "chulo"}
    files = [directory / file for file in tables["wav.scp"].values()]
    assert {(i.samplerate, i.frames, i.channels) for i in map(soundfile.info, files)} == {(8000, 800, 1)}
    # ㄦ and ㄓ are the only base syllables of their initials.
    assert "100 recordings of 3 initials by 2 speakers in 4 folds; left out: 3 of classes with one group" in (
        capfd.readouterr().err
    )


def test_other_targets(sounds, capfd):
    labels = table(make(sounds, target="final") / "label")
    assert set(labels.values()) == {"a", "ai", "an", "u", "i", "ao", "ang", "ei"}
    assert "left out: 3 of classes with one group, 2 without a class" in capfd.readouterr().err
    labels = table(make(sounds, target="tone") / "label")
    assert set(labels.values()) == {"1", "4"}
    directory = make(sounds, target="syllable")
    labels = table(directory / "label")
    assert len(set(labels.values())) == 24
    assert set(labels.values()) == {group[:-1] for group in table(directory / "group").values()}
    assert len(list((directory.parent / "audio" / "all").iterdir())) == 101 > len(labels)  # of other targets, too


def test_same_again(sounds):
    directory = make(sounds)
    before = {file: file.stat().st_mtime_ns for file in directory.parent.rglob("*")}
    make(sounds, nj=1)
    assert {file: file.stat().st_mtime_ns for file in directory.parent.rglob("*")} == before
    first = contents(directory.parent)
    lost = sorted((directory.parent / "audio" / "all").iterdir())
    for file in lost[::3]:
        file.unlink()
    (lost[0].parent / ".tmp-half.flac").write_bytes(b"half")
    make(sounds)
    assert contents(directory.parent) == first
    make(sounds, seed=1)
    assert contents(directory.parent)["all/fold"] != first["all/fold"]


def test_broken_recording_is_named(sounds):
    broken = next((sounds / "downloads").rglob("ㄅㄚ4/3.ogg"))
    broken.write_bytes(b"nothing")
    with pytest.raises(
        DataError, match=r"ㄅㄚ4/3.ogg cannot be read as audio \(.*; delete it to have all fetched again"
    ):
        make(sounds)
    assert not (sounds / "data" / "all").exists()


def test_wrong_settings(sounds):
    with pytest.raises(ConfigError, match="target is 'tones'; expected one of initial, final, tone, syllable; did you"):
        make(sounds, target="tones")
    with pytest.raises(ConfigError, match="folds is 1, expected a number from 2 to 20"):
        make(sounds, folds=1)


def test_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setattr(debian, "download", lambda *_: "apt-get is not installed")
    with pytest.raises(DataError) as caught:
        make(tmp_path)
    assert str(caught.value) == (
        "The Mandarin syllables could not be fetched (apt-get is not installed); put the Debian package "
        "gcin-voice_*.deb (on a machine with dpkg), or its unpacked folder ogg, into "
        f"{tmp_path / 'downloads'} and run this again."
    )


def test_the_package_itself(tmp_path):
    monkey = pytest.MonkeyPatch()
    monkey.setattr(mandarin_syllables, "_write", lambda _, target, __: target.write_bytes(b"x"))  # quick
    try:
        directory = make(tmp_path)
    except DataError as error:
        pytest.skip(f"the package cannot be fetched here: {error}")
    finally:
        monkey.undo()
    assert len(table(directory / "label")) == 2358
    assert len(set(table(directory / "label").values())) == 22
    assert Counter(table(directory / "fold").values()) == {"0": 590, "1": 589, "2": 590, "3": 589}
    assert len(set(table(directory / "group").values())) == 415
