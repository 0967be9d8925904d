import hashlib
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.corpora import debian
from seqkd.corpora.speech.spoken_languages import LANGUAGES, find_recordings, make_corpus
from seqkd.errors import ConfigError, DataError

COUNT = 10  # recordings of a source


def record(file: Path, seconds: float = 0.5, lead: float = 0.1, **options) -> None:
    """A tone of a pitch and level of its own, after silence."""
    file.parent.mkdir(parents=True, exist_ok=True)
    seed = int(hashlib.sha256(str(file.relative_to(file.parents[3])).encode()).hexdigest()[:8], 16)
    rng = np.random.default_rng(seed)
    tone = rng.uniform(0.01, 0.5) * np.sin(np.arange(round(seconds * 16000)) * rng.uniform(0.05, 0.5))
    soundfile.write(file, np.concatenate([np.zeros(round(lead * 16000)), tone]), 16000, **options)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """Recordings as the packages have them, where they are looked for: two sources a language, three of English."""
    root = tmp_path_factory.mktemp("languages")
    share = root / "downloads" / "usr" / "share"
    for language in LANGUAGES:
        for number in range(COUNT):
            record(share / "klettres" / language / "alpha" / f"a-{number}.ogg")
            record(share / "ktuberling" / "sounds" / language / f"{number}.wav")
    for number in range(COUNT + 2):
        record(share / "asterisk" / "sounds" / "en_US_f_Someone" / "digits" / f"{number}.wav")
    for name in ("beep.wav", "silence/1.wav"):
        record(share / "asterisk" / "sounds" / "en_US_f_Someone" / name)
    record(share / "asterisk" / "sounds" / "custom" / "x.wav")
    record(share / "ktuberling" / "sounds" / "sr@latin" / "x.wav")
    record(share / "klettres" / "da" / "syllab" / "short.ogg", 0.1)
    same = share / "klettres" / "de" / "syllab" / "same.ogg"
    same.parent.mkdir()
    same.write_bytes((share / "klettres" / "de" / "alpha" / "a-0.ogg").read_bytes())
    record(share / "ktuberling" / "sounds" / "fi" / "0.wav")
    return root


def make(sounds: Path, where: Path, **settings) -> Path:
    make_corpus(where / "data", **{"nj": 2, "fewest": 5, "downloads": sounds / "downloads", **settings})
    return where / "data"


def table(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines()
    assert lines == sorted(lines)
    return dict(line.split(" ", 1) for line in lines)


def contents(path: Path) -> dict[str, str]:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def sources(data: Path, name: str) -> set[str]:
    return set(table(data / name / "utt2spk").values())


def test_recordings_are_found_by_language_and_source(sounds):
    found = find_recordings(sounds)
    assert Counter(recording.source for recording in found)["asterisk-en_US_f_Someone"] == COUNT + 2
    assert {recording.language for recording in found} == {*LANGUAGES, "fi"}
    assert {recording.name for recording in found if recording.source == "klettres-da"} == {
        *(f"alpha-a-{number}" for number in range(COUNT)), "syllab-short",
    }  # fmt: skip


def test_a_source_of_every_language_is_held_out(sounds, tmp_path, capfd):
    data = make(sounds, tmp_path)
    assert (data / "classes.txt").read_text().split() == sorted(LANGUAGES)
    labels = {name: table(data / name / "label") for name in ("train", "dev", "test", "test_same")}
    assert all(set(found.values()) == set(LANGUAGES) for found in labels.values())
    assert sources(data, "train") == sources(data, "dev") == sources(data, "test_same")
    assert not sources(data, "train") & sources(data, "test")
    assert len(sources(data, "test")) == len(LANGUAGES)
    assert "asterisk-en_US_f_Someone" in sources(data, "train")  # the largest of English
    assert len({key for found in labels.values() for key in found}) == sum(map(len, labels.values()))
    groups = {name: set(table(data / name / "group").values()) for name in labels}
    assert not groups["train"] & (groups["dev"] | groups["test"] | groups["test_same"])
    assert groups["test"] == sources(data, "test")
    report = json.loads((data / "sources.json").read_text())
    assert report["left_out"] == {"of the same content as another": 1, "shorter than 0.4 s": 1}
    row = next(row for row in report["sources"] if row["source"] == "asterisk-en_US_f_Someone")
    assert row == {
        "language": "en", "source": "asterisk-en_US_f_Someone", "held_out": False,
        "train": 9, "dev": 1, "test": 0, "test_same": 2,
    }  # fmt: skip
    said = capfd.readouterr().err
    assert "en: asterisk-en_US_f_Someone: 9 train, 1 dev, 2 test_same\n" in said
    assert "left out: 1 of the same content as another, 1 shorter than 0.4 s" in said


def test_clips_begin_with_sound_and_are_equally_loud(sounds, tmp_path):
    data = make(sounds, tmp_path, clip_seconds=0.3)
    for name in ("train", "test"):
        for file in table(data / name / "wav.scp").values():
            samples, rate = soundfile.read(data / name / file)
            assert (rate, len(samples)) == (8000, 2400)
            assert 20 * np.log10(np.sqrt(np.mean(samples**2))) == pytest.approx(-24, abs=0.1)
            assert np.abs(samples[:400]).max() > 0.02  # 50 ms; the silence before was 100


def test_a_random_split_has_all_sources_everywhere(sounds, tmp_path):
    make(sounds, tmp_path)
    data = make(sounds, tmp_path, held_out="none")
    assert sources(data, "train") == sources(data, "dev") == sources(data, "test")
    assert not (data / "test_same").exists()
    sizes = {name: len(table(data / name / "label")) for name in ("train", "dev", "test")}
    assert sizes["test"] == 2 * 2 * len(LANGUAGES) + 2
    assert sizes["dev"] == 2 * len(LANGUAGES) + 1


def test_seed_limits_and_same_again(sounds, tmp_path):
    data = make(sounds, tmp_path, most=6)
    assert max(Counter(table(data / "test" / "utt2spk").values()).values()) == 6
    first, before = contents(data), {file: file.stat().st_mtime_ns for file in data.rglob("*.flac")}
    make(sounds, tmp_path, most=6, nj=1)
    assert {file: file.stat().st_mtime_ns for file in data.rglob("*.flac")} == before
    next(iter(before)).unlink()
    make(sounds, tmp_path, most=6)
    assert contents(data) == first
    held = sources(data, "test")
    make(sounds, tmp_path, most=6, seed=5)
    assert contents(data)["train/label"] != first["train/label"]
    assert any(sources(make(sounds, tmp_path, most=6, seed=seed), "test") != held for seed in range(1, 5))


def test_raw_gsm_is_read(sounds, tmp_path):
    shutil.copytree(sounds / "downloads", tmp_path / "downloads")
    folder = tmp_path / "downloads" / "usr" / "share" / "asterisk" / "sounds" / "es"
    folder.mkdir()
    tone = 0.02 * np.sin(np.arange(8000) * 0.3)
    for number in range(COUNT + 1):
        soundfile.write(folder / f"{number}.gsm", tone * (1 + number), 8000, "GSM610", format="RAW")
    data = make(tmp_path, tmp_path, languages=["da", "es"])
    files = [data / "train" / file for file in table(data / "train" / "wav.scp").values() if "asterisk-es" in file]
    assert len(files) == 8
    assert [soundfile.info(file).duration for file in files] == pytest.approx([1] * 8, abs=0.03)


def test_too_few_sources(sounds, tmp_path):
    with pytest.raises(DataError) as caught:
        make(sounds, tmp_path, fewest=11)
    assert str(caught.value) == (
        "Language 'da' has fewer than two sources of 11 recordings (klettres-da 10, ktuberling-da 10); leave it out of "
        "corpus.languages, or set corpus.fewest lower."
    )
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"held_out": "speaker"}, "held_out is 'speaker'; expected one of source, none"),
        ({"languages": ["en", "xx"]}, "languages is ['en', 'xx'], expected at least two of da, de, en, "),
        ({"languages": ["en"]}, "languages is ['en'], expected at least two of "),
        ({"shares": {"train": 0.8, "test": 0.2}}, "shares are of train, test, expected train, dev, test."),
        ({"most": 1}, "most is 1, expected a number from 3 to 10000."),
    ],
)
def test_wrong_settings(sounds, tmp_path, settings, expected):
    with pytest.raises(ConfigError) as caught:
        make(sounds, tmp_path, **settings)
    assert str(caught.value).startswith(expected)


def test_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setattr(debian, "download", lambda *_: "apt-get is not installed")
    with pytest.raises(
        DataError, match="The recordings of languages could not be fetched \\(apt-get is not installed\\)"
    ):
        make(tmp_path, tmp_path)


def test_the_packages_themselves(tmp_path):
    """Slow where they are fetched (190 MB): only where they lie already, in ``SEQKD_LANGUAGES``."""
    folder = os.environ.get("SEQKD_LANGUAGES")
    if not folder or not find_recordings(Path(folder)):
        pytest.skip("the packages of languages (190 MB) are not in the folder SEQKD_LANGUAGES")
    make_corpus(tmp_path / "data", nj=2, most=10, downloads=folder)
    assert set(table(tmp_path / "data" / "test" / "label").values()) == set(LANGUAGES)
