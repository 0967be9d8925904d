import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("espeakng_loader")

import espeakng_loader

from seqkd.corpora.class_sets import LabelledClip, derive_clips
from seqkd.corpora.speech import espeak_keywords
from seqkd.corpora.speech.espeak_keywords import WORDS, make_corpus
from seqkd.corpora.speech.espeak_keywords_worker import phone_times
from seqkd.corpora.speech.espeak_voice_list import ACCENTS, DEFAULT_VOICES, KEYWORD_VOICES, check_voices
from seqkd.corpora.speech.espeak_voices_worker import Espeak, in_child
from seqkd.errors import ConfigError, DataError

CLEAN = {"test": {"clips": 105, "split": "test"}}
SETS = {
    "train": {"clips": 120, "split": "train", "snr_db": [0, 20], "reverb": 0.5},
    "few": {"subset_of": "train", "clips": 35},
    "fewer": {"subset_of": "few", "clips": 20},
    "rest": {"subset_of": "train", "without": "few"},
    "dev": {"clips": 12, "split": "dev", "snr_db": [0, 5], "noises": ["babble"]},
    **CLEAN,
}


def make(path, nj=2, seed=7, sets=SETS, **more):
    make_corpus(path, nj=nj, seed=seed, sets=sets, **more)
    return path


def contents(path: Path) -> dict[str, str]:
    """Digest of every file, by name."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def table(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines()
    assert lines == sorted(lines)
    return dict(line.split(" ", 1) for line in lines)


def phones(path: Path) -> dict[str, list[tuple[float, float, str]]]:
    found: dict[str, list[tuple[float, float, str]]] = {}
    for line in path.read_text().splitlines():
        key, channel, start, duration, phone = line.split()
        assert channel == "1"
        found.setdefault(key, []).append((float(start), float(start) + float(duration), phone))
    return found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make(tmp_path_factory.mktemp("corpus") / "data", nj=3)


def test_every_set_has_its_clips_of_one_second(corpus):
    assert (corpus / "classes.txt").read_text().split() == sorted(WORDS)
    sizes = {}
    for name in SETS:
        tables = {kind: table(corpus / name / kind) for kind in ("wav.scp", "label", "group", "utt2spk")}
        assert len({tuple(entries) for entries in tables.values()}) == 1
        assert set(tables["label"].values()) <= set(WORDS)
        files = [corpus / name / entry for entry in tables["wav.scp"].values()]
        assert {(f.frames, f.samplerate, f.channels) for f in map(soundfile.info, files)} == {(16000, 16000, 1)}
        assert min(float(np.abs(soundfile.read(file)[0]).max()) for file in files) > 0.01
        sizes[name] = len(files)
        for key, group in tables["group"].items():
            assert tables["utt2spk"][key].endswith(group)
            assert key.startswith(tables["utt2spk"][key])
    assert sizes == {"train": 120, "few": 35, "fewer": 20, "rest": 85, "dev": 12, "test": 105}


def test_classes_are_balanced_in_sets_and_their_parts(corpus):
    labels = {name: table(corpus / name / "label") for name in SETS}
    assert set(Counter(labels["test"].values()).values()) == {3}
    assert set(Counter(labels["few"].values()).values()) == {1}
    assert labels["fewer"].items() <= labels["few"].items() <= labels["train"].items()
    assert not labels["rest"].keys() & labels["few"].keys()


def test_no_voice_is_in_two_splits(corpus):
    groups = {name: set(table(corpus / name / "group").values()) for name in ("train", "dev", "test")}
    for left, right in itertools.combinations(groups.values(), 2):
        assert not left & right
    for name, used in groups.items():
        assert used <= {voice.lower() for voice in KEYWORD_VOICES[name]}


def formants(voice: str) -> tuple[dict[str, str], list[str]]:
    """The heights of the formants of a voice in percent, and its pitch."""
    file = Path(espeakng_loader.get_data_path()) / "voices" / "!v" / voice
    lines = [line.split("//")[0].split() for line in file.read_text(errors="replace").splitlines()]
    heights = {line[1]: line[2] for line in lines if line[:1] == ["formant"]}
    return {number: heights.get(number, "100") for number in "12345"}, next(
        (line[1:3] for line in lines if line[:1] == ["pitch"]), ["82", "118"]
    )


def test_default_voices_are_enough_and_no_two_splits_share_one_by_another_name():
    sizes = {split: len(voices) for split, voices in KEYWORD_VOICES.items()}
    assert sizes == {"train": 40, "dev": 8, "test": 30}
    check_voices({split: list(voices) for split, voices in KEYWORD_VOICES.items()}, list(ACCENTS))
    known = {voice for voices in DEFAULT_VOICES.values() for voice in voices}
    assert {voice for voices in KEYWORD_VOICES.values() for voice in voices} == known
    for left, right in itertools.combinations(KEYWORD_VOICES.values(), 2):
        for one, other in itertools.product(left, right):
            assert formants(one)[0] != formants(other)[0], (one, other)


def test_phones_fill_every_clip_without_gaps(corpus):
    for name in SETS:
        found = phones(corpus / name / "phones.ctm")
        assert found.keys() == table(corpus / name / "label").keys()
        for spans in found.values():
            assert spans[0][0] == 0
            assert spans[-1][1] == pytest.approx(1)
            for (_, end, left), (start, _, right) in itertools.pairwise(spans):
                assert end == pytest.approx(start)
                assert (left, right) != ("sil", "sil")


def test_phones_are_those_of_the_word_where_it_sounds(corpus):
    labels, found = table(corpus / "test" / "label"), phones(corpus / "test" / "phones.ctm")
    said = {
        word: {tuple(p for *_, p in found[key] if p != "sil") for key in found if labels[key] == word} for word in WORDS
    }
    assert said["yes"] == {("j", "E", "s")}
    assert said["six"] == {("s", "I", "k", "s")}
    share, crossings = [], {"s": [], "i:": []}
    for key, spans in found.items():
        signal, rate = soundfile.read(corpus / "audio" / "test" / f"{key}.flac")
        power = np.zeros(2)
        for start, end, phone in spans:
            part = signal[round(start * rate) : round(end * rate)]
            power[int(phone != "sil")] += np.square(part).sum()
            if phone in crossings:
                middle = part[len(part) // 4 : -len(part) // 4]
                crossings[phone].append(np.mean(np.diff(np.sign(middle)) != 0))
        share.append(power[1] / power.sum())
    assert min(share) > 0.97  # without noise and rooms, all sound is in phones
    assert min(crossings["s"]) > max(crossings["i:"])  # hissing against humming: each where it should be


def test_times_of_phones_of_a_clip():
    events = [(-0.02, "b"), (0.1, "E"), (0.3, "d"), (0.38, "_:"), (0.39, "_")]
    assert phone_times(events, 0.1, 1.0) == [
        (0.0, 0.08, "sil"), (0.08, 0.2, "b"), (0.2, 0.4, "E"), (0.4, 0.48, "d"), (0.48, 1.0, "sil"),
    ]  # fmt: skip
    # A word that begins with the clip and is cut off by its end.
    assert phone_times(events, 0.0, 0.35) == [(0.0, 0.1, "b"), (0.1, 0.3, "E"), (0.3, 0.35, "d")]
    assert phone_times(events, 0.0, 0.25) == [(0.0, 0.1, "b"), (0.1, 0.25, "E")]


def test_noting_phonemes_does_not_change_the_sound():
    request = {"text": "follow", "voice": "gmw/en-US+f2", "rate": 160, "pitch": 50, "range": 50, "seed": 3}

    def speak(phonemes: bool) -> bytes:
        espeak = Espeak(phonemes)
        pcm = espeak.speak(**request)
        return pcm + b"|" + json.dumps(espeak.phonemes).encode()

    without, with_ = (in_child(lambda p=p: speak(p)).rpartition(b"|") for p in (False, True))
    assert without[0] == with_[0]
    assert json.loads(without[2]) == []
    events = json.loads(with_[2])
    assert [name for _, name in events] == ["f", "0", "l", "oU", "_:", "_"]
    starts = [sample for sample, _ in events]
    assert starts == sorted(starts)
    assert starts[-1] <= len(with_[0]) // 2


def test_result_does_not_depend_on_the_number_of_jobs(corpus, tmp_path):
    assert contents(make(tmp_path / "other", nj=1)) == contents(corpus)


def test_seed_decides(corpus, tmp_path):
    one = {"train": {**SETS["train"], "clips": 40}}
    other = {
        name: digest for name, digest in contents(make(tmp_path / "other", seed=8, sets=one)).items() if "flac" in name
    }
    assert not set(other.values()) & set(contents(corpus).values())


def test_a_larger_set_keeps_what_it_has(corpus, tmp_path):
    """40 clips are less than a batch: the rest of the batch changes nothing of them."""
    small = make(tmp_path / "data", sets={"train": {**SETS["train"], "clips": 40}})
    before = {file.name: file.stat().st_mtime_ns for file in small.rglob("*.flac")}
    make(small)
    after = {file.name: file.stat().st_mtime_ns for file in small.rglob("*.flac")}
    assert {name: after[name] for name in before} == before
    assert contents(small) == contents(corpus)


def test_lost_files_are_made_again(corpus, tmp_path):
    path = make(tmp_path / "data")
    for file in sorted((path / "audio" / "train").iterdir())[::7]:
        file.unlink()
    (path / "audio" / "train" / ".tmp-half.flac").write_bytes(b"half")
    (path / "dev" / "label").unlink()
    (path / "classes.txt").write_text("wrong\n")
    with (path / "test" / "group").open("a") as file:
        file.write("more\n")
    make(path)
    assert contents(path) == contents(corpus)


def test_a_finished_corpus_is_left_alone(corpus, monkeypatch):
    monkeypatch.setattr(espeak_keywords, "run_jobs", None)  # would fail
    before = {file: file.stat().st_mtime_ns for file in corpus.rglob("*")}
    make(corpus)
    assert {file: file.stat().st_mtime_ns for file in corpus.rglob("*")} == before


def test_changed_settings_remake_what_they_concern(tmp_path):
    path = make(tmp_path / "data")
    before = contents(path)
    make(path, sets={**SETS, "dev": {**SETS["dev"], "snr_db": [10, 15]}})
    after = contents(path)
    changed = {name for name in before if name.startswith("audio") and after.get(name) != before[name]}
    assert {Path(name).parts[1] for name in changed} == {"dev"}
    assert len([name for name in changed if name.endswith("flac")]) == 12


def test_killed_in_the_middle_goes_on(corpus, tmp_path):
    program = (
        "import json, sys; from seqkd.corpora.speech.espeak_keywords import make_corpus; "
        "make_corpus(sys.argv[1], nj=2, seed=7, sets=json.loads(sys.argv[2]))"
    )
    many = {**SETS, "train": {**SETS["train"], "clips": 3000}}
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "data"), json.dumps(many)],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    audio = tmp_path / "data" / "audio" / "train"
    deadline = time.monotonic() + 60
    while len(list(audio.glob("[!.]*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list(audio.glob("[!.]*.json"))) >= 2
    there = None
    while there != (there := sorted(audio.iterdir())):  # until the workers notice that nobody asks any more
        time.sleep(1)
    assert contents(make(tmp_path / "data")) == contents(corpus)


def test_words_that_do_not_fit_are_spoken_faster(tmp_path):
    words = ["extraordinary", "turn_on", "go"]
    sets = {"train": {"clips": 6, "split": "train"}}
    path = make(tmp_path / "data", sets=sets, words=words, clip_seconds=0.5, rate=[80, 90])
    labels, found = table(path / "train" / "label"), phones(path / "train" / "phones.ctm")
    said = {
        word: {tuple(p for *_, p in found[key] if p != "sil") for key in found if labels[key] == word} for word in words
    }
    assert {tuple(spoken[-2:]) for spoken in said["turn_on"]} <= {("0", "n"), ("O2", "n")}
    assert all(len(spoken) > 7 for spoken in said["extraordinary"])
    assert {soundfile.info(file).frames for file in path.rglob("*.flac")} == {8000}


def test_a_failing_batch_names_the_clip(tmp_path, monkeypatch):
    monkeypatch.setitem(espeak_keywords.ACCENTS, "us", "en-XX")
    monkeypatch.setattr(espeak_keywords, "check_voices", lambda *_: "1")
    with pytest.raises(DataError, match=r"clip 'usf1-a000000': RuntimeError: espeak-ng gave voice"):
        make(tmp_path / "data", sets={"a": {"clips": 3, "split": "a"}}, voices={"a": ["f1"]}, accents=["us"])
    assert not (tmp_path / "data" / "a").exists()


def test_a_part_takes_turns_between_classes():
    made = {"all": [LabelledClip(f"{label}{i}", Path("x"), label, "g") for label in "ab" for i in range(3)]}
    assert Counter(clip.label for clip in derive_clips("x", {"subset_of": "all", "clips": 4}, made, 0)) == {
        "a": 2,
        "b": 2,
    }
    with pytest.raises(ConfigError, match="Set 'x': clips is 7, expected a number from 1 to 6"):
        derive_clips("x", {"subset_of": "all", "clips": 7}, made, 0)
    with pytest.raises(ConfigError, match="Set 'x' would be empty: 'all' holds all of 'all'"):
        derive_clips("x", {"subset_of": "all", "without": "all"}, made, 0)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"sets": {"a": {"split": "train"}}}, "Set 'a' has no 'clips'."),
        ({"sets": {"a": {"clips": 3, "split": "x"}}}, "Set 'a': split is 'x', expected one of train, dev, test."),
        (
            {"sets": {"a": {"clips": 3, "split": "train", "snr": 3}}},
            "Set 'a' has unknown key 'snr'; known are clips, noises, reverb, rt60, snr_db, split.",
        ),
        (
            {"sets": {"a": {"clips": 3, "split": "train"}, "b": {"subset_of": "a", "utterances": 3}}},
            "Set 'b' has unknown key 'utterances'; known are clips, subset_of, without.",
        ),
        (
            {"sets": {"a": {"clips": 3, "split": "train"}, "b": {"subset_of": "a", "clips": 0}}},
            "Set 'b': clips is 0, expected a number from 1 to 999999.",
        ),
        (
            {"sets": {"a": {"clips": 3, "split": "train", "noises": ["loud"]}}},
            "Set 'a': noises are ['loud'], expected some of white, pink, brown, hum, babble.",
        ),
        ({"words": ["yes"]}, "words is ['yes'], expected a list of at least two."),
        ({"words": ["yes", "no", "Yes"]}, "Words 'yes' and 'Yes' differ in case alone; leave one out."),
        ({"words": ["yes", "no", "yes"]}, "Word 'yes' is given twice; leave one out."),
        (
            {"words": ["yes", "turn on"]},
            "Word 'turn on' cannot be a class; use letters, ' and -, and _ for a space.",
        ),
        ({"clip_seconds": 0}, "clip_seconds is 0, expected a number from 0.2 to 10."),
        (
            {"voices": {"train": ["f1"], "test": ["f1"]}},
            "Voice 'f1' is in split 'test' and in 'train'; a voice may be in one.",
        ),
    ],
)  # fmt: skip
def test_wrong_settings(changed, expected):
    with pytest.raises(ConfigError) as caught:
        make_corpus("nowhere", **{"nj": 1, "seed": 1, "sets": SETS, **changed})
    assert str(caught.value) == expected
    assert not Path("nowhere").exists()


def test_settings_may_come_from_omegaconf(corpus, tmp_path):
    omegaconf = pytest.importorskip("omegaconf")
    assert contents(make(tmp_path / "data", sets=omegaconf.OmegaConf.create(SETS))) == contents(corpus)
