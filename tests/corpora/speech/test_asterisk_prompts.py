import gzip
import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.corpora.speech import asterisk_sounds
from seqkd.corpora.speech.asterisk_prompts import cluster, make_corpus, split_prompts
from seqkd.corpora.speech.asterisk_sounds import Prompt, fetch_sounds, normalise, read_prompts
from seqkd.data.kaldi import check_audio, read_data_dir
from seqkd.errors import ConfigError, DataError

LINES = {
    "activated": "Activated.",
    "beep": "[this is a simple beep tone]",
    "join": "<beep ascending>",
    "hold": "Please hold while I try to connect you.",
    "busy": "All circuits are busy now!",
    "hours": "The office is closed at this hour",
    "weasels": "Weasels have eaten our phone system",
    "lost": "Nobody has recorded this line",
    "digits/1": "one",
    "letters/at": "at [@]",
    "menu": "Press 5 to leave a message",
    "echo": "To test the echo dial 600",
    "locked": "The conference is now locked",
    "unlocked": "The conference is now unlocked",
    "locked2": "the conference is now locked.",
    "long": "This recording is much too long for us",
    "mail-vm": "Your message has been saved for later",
    "sorry": "I'm sorry, that's not a valid extension",
    "thanks": "Thank you for your patience tonight",
}


@pytest.fixture
def sounds(tmp_path):
    """A small tree like that of the packages."""
    folder = tmp_path / "downloads" / "sounds"
    rng = np.random.default_rng(0)
    for name in LINES:
        if name == "lost":
            continue
        path = folder / "en" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.2 * rng.standard_normal(8000 * (9 if name == "long" else 1)), 8000)
    text = "; Core Sounds\n\n" + "".join(f"{name}: {line}\n" for name, line in LINES.items())
    (folder / "core-sounds-en.txt.gz").write_bytes(gzip.compress(text.encode()))
    return folder


SETS = {
    "teacher_train": {
        "split": "train", "copies": 2, "snr_db": [0, 20], "reverb": 0.5, "speed": [0.9, 1.1],
    },
    "student_train": {"subset_of": "teacher_train", "utterances": 3},
    "unlabelled": {"subset_of": "teacher_train", "without": "student_train", "transcripts": False},
    "dev": {"split": "dev"},
    "test": {"split": "test"},
    "test_noisy": {"split": "test", "original": False, "copies": 1, "snr_db": [0, 10]},
}  # fmt: skip


def make(sounds, name="data", nj=2, seed=1, sets=SETS, **more):
    path = sounds.parents[1] / name
    more = {"shares": {"train": 0.4, "dev": 0.3, "test": 0.3}, "max_seconds": 5, **more}
    make_corpus(path, nj=nj, seed=seed, sets=sets, downloads=sounds.parent, **more)
    return path


def contents(path: Path) -> dict[str, str]:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Activated.", "activated"),
        ("[ascending tones]", ""),
        ("<beep decending>", ""),
        ("(10 seconds of silence)", ""),
        ("at [@]", "at"),
        ("Press 5 to leave, or 0 for help", "press five to leave or zero for help"),
        ("I'm sorry, that's \"not\" valid!", "i'm sorry that's not valid"),
        ("Call-Forward on No Answer.", "call forward on no answer"),
        ("... for ...", "for"),
        ("P.M.", "p m"),
        ("M I S D N", "m i s d n"),
        ("Open Source PBX", "open source p b x"),
        ("fourtieth", "fortieth"),
        ("dial 600", None),
        ("3D audio", None),
        ("H.323", None),
        ("visit www.asterisk.org.", None),
        ("press # to exit", None),
        ("a 28.8 kilobit modem", None),
    ],
)
def test_normalise(raw, text):
    assert normalise(raw) == text


def test_reading_the_list(sounds):
    prompts, dropped = read_prompts(sounds, 5)
    assert len(prompts) == len(LINES) - 5
    assert [prompt.id for prompt in prompts] == sorted(prompt.id for prompt in prompts)
    assert dropped == {
        "without speech": 2,
        "with numbers, signs or addresses that can be read in several ways": 1,
        "without a recording": 1,
        "longer than 5 s": 1,
    }
    one = next(prompt for prompt in prompts if prompt.text == "one")
    assert (one.id, one.audio.name, one.audio.parent.name) == ("digits_1", "1.wav", "digits")


def test_line_without_a_colon(sounds):
    (sounds / "core-sounds-en.txt.gz").unlink()
    (sounds / "core-sounds-en.txt").write_text("; comment\nbroken line\n")
    with pytest.raises(DataError) as caught:
        read_prompts(sounds, 5)
    assert str(caught.value) == (
        f"{sounds}/core-sounds-en.txt, line 2: found 'broken line', expected a name, a colon and what is said."
    )


def prompts_of(*texts):
    return [Prompt(f"p{index:02d}", Path("x.wav"), text) for index, text in enumerate(texts)]


def test_alike_prompts_are_clustered():
    prompts = prompts_of(
        "the conference is now locked",
        "the conference is now unlocked",
        "goodbye",
        "goodbye",
        "please enter your password",
        "login incorrect please enter your password followed by the pound key",
        "weasels have eaten our phone system",
    )
    assert sorted([prompt.id for prompt in group] for group in cluster(prompts)) == [
        ["p00", "p01"], ["p02", "p03"], ["p04", "p05"], ["p06"],
    ]  # fmt: skip


def test_splits_share_no_text_and_depend_on_the_seed_alone():
    words = [f"w{index}" for index in range(40)]
    texts = [" ".join(words[index : index + 6]) for index in range(0, 36, 2)] * 2 + words[:9]
    prompts = prompts_of(*texts)
    # Four words of six in common are not enough to tie prompts together.
    shares = {"train": 0.6, "dev": 0.2, "test": 0.2}
    splits = split_prompts(prompts, shares, seed=1)
    assert sorted(prompt.id for chosen in splits.values() for prompt in chosen) == [p.id for p in prompts]
    seen = [{prompt.text for prompt in chosen} for chosen in splits.values()]
    assert not seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2]
    assert all(prompt.words >= 3 for split in ("dev", "test") for prompt in splits[split])
    total = sum(prompt.words for prompt in prompts)
    for split, share in shares.items():
        assert sum(prompt.words for prompt in splits[split]) / total == pytest.approx(share, abs=0.1)
    assert split_prompts(prompts[::-1], shares, seed=1) == splits != split_prompts(prompts, shares, seed=2)


def test_corpus(sounds):
    path = make(sounds)
    sets = {name: read_data_dir(path / name) for name in SETS}
    for utterances in sets.values():
        check_audio(utterances, 8000)
    texts = {name: {u.text for u in utterances} for name, utterances in sets.items()}
    for one, other in (("teacher_train", "dev"), ("teacher_train", "test"), ("dev", "test")):
        assert not texts[one] & texts[other]
    assert texts["test"] == texts["test_noisy"]
    assert texts["unlabelled"] == {None}
    # Copies stay with their prompt: no audio of the student's prompts is among the unlabelled.
    prompts = {name: {u.id.rsplit("-", 1)[0] for u in utterances} for name, utterances in sets.items()}
    assert len(prompts["student_train"]) == 3
    assert len(sets["student_train"]) == 9
    assert prompts["student_train"] | prompts["unlabelled"] == prompts["teacher_train"]
    assert not prompts["student_train"] & prompts["unlabelled"]


def test_corpus_is_deterministic_and_resumes(sounds):
    path = make(sounds, nj=1)
    expected = contents(path)
    assert contents(make(sounds, "again", nj=3)) == expected
    files = sorted((path / "audio" / "teacher_train").iterdir())
    kept = files[0].stat().st_mtime_ns
    for file in files[1::2]:
        file.unlink()
    make(sounds)
    assert contents(path) == expected
    assert files[0].stat().st_mtime_ns == kept
    assert contents(make(sounds, seed=2)) != expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"sets": {"a": {"split": "x"}}}, "Set 'a': split is 'x', expected one of train, dev, test."),
        ({"sets": {"a": {"split": "dev", "original": False}}}, "Set 'a' has neither originals nor copies."),
        ({"max_seconds": -1}, "max_seconds is -1, expected a number from 0.1 to 3600."),
        ({"shares": {"eval": 1}}, "The shares has unknown key 'eval'; known are dev, test, train."),
    ],
)
def test_wrong_settings(sounds, changed, expected):
    with pytest.raises(ConfigError) as caught:
        make(sounds, **changed)
    assert str(caught.value) == expected


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setattr(asterisk_sounds.urllib.request, "urlopen", refuse)


def test_neither_apt_nor_archive(tmp_path, monkeypatch, no_network):
    monkeypatch.setattr(asterisk_sounds.shutil, "which", lambda _: None)
    with pytest.raises(DataError) as caught:
        fetch_sounds(tmp_path / "downloads")
    found = str(caught.value)
    assert found.startswith("The Asterisk prompts could not be fetched (apt-get is not installed; https://")
    assert "could not be had: no network)" in found
    assert "put the Debian packages asterisk-core-sounds-en-wav_*.deb and asterisk-core-sounds-en_*.deb" in found
    assert f"into {tmp_path / 'downloads'} and run this again." in found
    assert list((tmp_path / "downloads").iterdir()) == []


def test_failing_apt_is_quoted(tmp_path, monkeypatch, no_network):
    monkeypatch.setattr(asterisk_sounds.shutil, "which", lambda name: f"/bin/{name}")
    failed = subprocess.CompletedProcess([], 100, "", "W: warning\nE: Unable to locate package\n")
    monkeypatch.setattr(subprocess, "run", lambda *_a, **_k: failed)
    with pytest.raises(DataError, match="apt-get download failed: E: Unable to locate package; https://"):
        fetch_sounds(tmp_path / "downloads")


def test_archive_where_apt_is_missing(sounds, tmp_path, monkeypatch):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(sounds, "sounds")
    packed.seek(0)
    monkeypatch.setattr(asterisk_sounds.shutil, "which", lambda _: None)
    monkeypatch.setattr(asterisk_sounds.urllib.request, "urlopen", lambda *_a, **_k: packed)
    found, _ = read_prompts(fetch_sounds(tmp_path / "new"), 5)
    assert [prompt.text for prompt in found] == [prompt.text for prompt in read_prompts(sounds, 5)[0]]
    # And what is there is not fetched again.
    monkeypatch.setattr(asterisk_sounds.urllib.request, "urlopen", None)
    fetch_sounds(tmp_path / "new")
