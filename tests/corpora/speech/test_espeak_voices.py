import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("espeakng_loader")

from seqkd.corpora.speech import espeak_voices
from seqkd.corpora.speech.espeak_voice_list import ACCENTS, DEFAULT_VOICES, check_voices
from seqkd.corpora.speech.espeak_voices import make_corpus
from seqkd.data.kaldi import check_audio, read_data_dir
from seqkd.errors import ConfigError, DataError

SETS = {
    "train": {"utterances": 10, "split": "train", "snr_db": [-3, 12], "reverb": 0.5},
    "student": {"subset_of": "train", "utterances": 4},
    "rest": {"subset_of": "train", "without": "student", "transcripts": False},
    "dev": {"utterances": 4, "split": "dev", "snr_db": [0, 5], "noises": ["babble"]},
    "test": {"utterances": 4, "split": "test"},
}


def make(path, nj=2, seed=7, sets=SETS, **more):
    make_corpus(path, nj=nj, seed=seed, sets=sets, **{"text": {"vocabulary": "digits"}, **more})
    return path


def contents(path: Path) -> dict[str, str]:
    """Digest of every file, by name, but for the marks of sets, which are alike."""
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != ".seqkd")
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def stamps(path: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in path.rglob("*.flac")}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make(tmp_path_factory.mktemp("corpus") / "data", nj=3)


def test_sets_are_valid_data_directories(corpus):
    sets = {name: read_data_dir(corpus / name) for name in SETS}
    assert {name: len(utterances) for name, utterances in sets.items()} == {
        "train": 10, "student": 4, "rest": 6, "dev": 4, "test": 4,
    }  # fmt: skip
    durations = [seconds for utterances in sets.values() for seconds in check_audio(utterances).values()]
    assert 1 < np.mean(durations) < 4
    ids = {name: {u.id for u in utterances} for name, utterances in sets.items()}
    assert ids["student"] | ids["rest"] == ids["train"]
    assert not ids["student"] & ids["rest"]
    assert {u.text for u in sets["rest"]} == {None}
    assert not (corpus / "rest" / "text").exists()
    assert {u.audio.resolve().parent.name for u in sets["rest"]} == {"train"}  # the audio is shared
    assert all(u.id.startswith(f"{u.speaker}-") for u in sets["train"])


def test_no_voice_in_two_splits(corpus):
    variants = {name: {u.speaker[2:] for u in read_data_dir(corpus / name)} for name in ("train", "dev", "test")}
    for name, used in variants.items():
        assert used <= {variant.lower() for variant in DEFAULT_VOICES[name]}
    assert not variants["train"] & variants["dev"] | variants["train"] & variants["test"]
    # And in the defaults as a whole, not just among the few drawn here.
    everything = [variant.lower() for split in DEFAULT_VOICES.values() for variant in split]
    assert len(everything) == len(set(everything))
    check_voices({split: list(names) for split, names in DEFAULT_VOICES.items()}, list(ACCENTS))


def test_result_does_not_depend_on_the_number_of_jobs(corpus, tmp_path):
    assert contents(make(tmp_path / "other", nj=1)) == contents(corpus)


def test_seed_decides(corpus, tmp_path):
    one = {"train": {**SETS["train"], "utterances": 2}}
    other = contents(make(tmp_path / "other", seed=8, sets=one))
    assert not set(other.values()) & set(contents(corpus).values())


def test_a_larger_set_keeps_what_it_has(corpus, tmp_path):
    small = make(tmp_path / "data", sets={"train": {**SETS["train"], "utterances": 3}})
    before = stamps(small)
    make(small)
    after = stamps(small)
    assert {name: after[name] for name in before} == before
    assert contents(small) == contents(corpus)


def test_lost_files_are_made_again_and_others_kept(corpus, tmp_path):
    path = make(tmp_path / "data")
    before, files = stamps(path), sorted((path / "audio" / "train").iterdir())
    for file in files[::3]:
        file.unlink()
    (path / "audio" / "train" / ".tmp-half.flac").write_bytes(b"half")
    (path / "dev" / "wav.scp").unlink()
    make(path)
    assert contents(path) == contents(corpus)
    lost = {file.name for file in files[::3]}
    assert {name for name, stamp in stamps(path).items() if stamp != before[name]} == lost


def test_a_finished_corpus_is_left_alone(corpus, monkeypatch):
    monkeypatch.setattr(espeak_voices, "run_jobs", None)  # would fail
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
    assert len(changed) == 4


def test_another_grammar_remakes_everything(tmp_path, monkeypatch):
    path = make(tmp_path / "data")
    before = stamps(path)
    monkeypatch.setattr(espeak_voices, "grammar_digest", lambda: "another")
    make(path)
    assert all(stamp > before[name] for name, stamp in stamps(path).items())


def test_killed_in_the_middle_goes_on(corpus, tmp_path):
    program = (
        "import json, sys; from seqkd.corpora.speech.espeak_voices import make_corpus; "
        "make_corpus(sys.argv[1], nj=2, seed=7, text={'vocabulary': 'digits'}, sets=json.loads(sys.argv[2]))"
    )
    many = {**SETS, "train": {**SETS["train"], "utterances": 3000}}
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "data"), json.dumps(many)],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    audio = tmp_path / "data" / "audio" / "train"
    deadline = time.monotonic() + 30
    while len(list(audio.glob("[!.]*.flac"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list(audio.glob("[!.]*.flac"))) >= 5
    time.sleep(0.5)  # the workers notice that nobody asks any more
    assert contents(make(tmp_path / "data")) == contents(corpus)


def message(error, **changed) -> str:
    settings = {"nj": 1, "seed": 1, "sets": SETS, "text": {"vocabulary": "digits"}, **changed}
    with pytest.raises(error) as caught:
        make_corpus("nowhere", **settings)
    assert not Path("nowhere").exists()
    return str(caught.value)


def test_unknown_variant_is_named():
    found = message(ConfigError, voices={"train": ["f1", "nonsense"], "dev": ["f2"], "test": ["f3"]})
    assert found.startswith("Voice 'nonsense' of split 'train' is not an espeak-ng variant; these are: Alex, ")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            {"voices": {"train": ["f1"], "dev": ["f2"], "test": ["f1"]}},
            "Voice 'f1' is in split 'test' and in 'train'; a voice may be in one.",
        ),
        ({"voices": {"train": []}}, "Split 'train' has no voices; name at least one."),
        ({"accents": ["us", "xx"]}, "Accent 'xx' is not known; known are us, gb, sc, rp, lc, wm, cb, ny."),
        (
            {"sets": {"a": {"utterances": 3, "split": "train", "snr": [1, 2]}}},
            "Set 'a' has unknown key 'snr'; known are "
            "noises, reverb, rt60, snr_db, split, text, transcripts, utterances.",
        ),
        ({"sets": {"a": {"split": "train"}}}, "Set 'a' has no 'utterances'."),
        (
            {"sets": {"a": {"utterances": 3, "split": "eval"}}},
            "Set 'a': split is 'eval', expected one of train, dev, test.",
        ),
        (
            {"sets": {"a": {"utterances": 3, "split": "train", "snr_db": [5, 1]}}},
            "Set 'a': snr_db is [5, 1]: the first number must not exceed the second.",
        ),
        (
            {"sets": {"a": {"utterances": 3, "split": "train", "noises": ["loud"]}}},
            "Set 'a': noises are ['loud'], expected some of white, pink, brown, hum, babble.",
        ),
        (
            {"sets": {"a": {"utterances": 0, "split": "train"}}},
            "Set 'a': utterances is 0, expected a number from 1 to 999999.",
        ),
        (
            {"sets": {"b": {"utterances": 3, "split": "train"}, "a": {"subset_of": "b", "utterances": -1}}},
            "Set 'a': utterances is -1, expected a number from 1 to 999999.",
        ),
        (
            {"sets": {"a": {"subset_of": "b", "utterances": 3}}},
            "Set 'a': subset_of names 'b', which is not one of the sets.",
        ),
        (
            {"sets": {"a": {"subset_of": "b"}, "b": {"subset_of": "a"}}},
            "Set 'a' is in the end derived from itself (a of b of a).",
        ),
        ({"sets": {}}, "The corpus has no sets; name at least one under `sets`."),
        (
            {"text": {"vocabulary": "latin"}},
            "Vocabulary 'latin' is not known; known are digits, commands, words1000.",
        ),
        ({"sample_rate": 44}, "sample_rate is 44, expected a number from 8000 to 48000."),
    ],
)
def test_wrong_settings(changed, expected):
    assert message(ConfigError, **changed) == expected


def test_failing_worker_names_the_utterance(tmp_path):
    (tmp_path / "audio").mkdir()
    settings = {
        "text": "one",
        "voice": "gmw/en-US+nonsense",
        "rate": 160,
        "pitch": 50,
        "range": 50,
        "seed": 1,
    }
    job = {
        "id": "u-1",
        "path": str(tmp_path / "u.flac"),
        "sample_rate": 16000,
        "seed": 1,
        "speech": settings,
        "talkers": [],
        "conditions": {},
    }
    with pytest.raises(DataError, match=r"Utterance 'u-1' could not be made: .*espeak-ng failed"):
        espeak_voices.run_jobs([job], 2, lambda _: None)


def test_settings_may_come_from_omegaconf(corpus, tmp_path):
    omegaconf = pytest.importorskip("omegaconf")
    sets = omegaconf.OmegaConf.create(SETS)
    text = omegaconf.OmegaConf.create({"vocabulary": "digits"})
    assert contents(make(tmp_path / "data", sets=sets, text=text)) == contents(corpus)
