"""The dialogues of Fish Fillets, on a small tree like that of the packages."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import pytest
import soundfile

from seqkd.corpora import debian
from seqkd.corpora.speech.fillets_dialogues import DEFAULT_SHARES, make_corpus, split_lines
from seqkd.corpora.speech.fillets_lines import Line, fetch_game, normalise, read_lines, read_script, unusable
from seqkd.data.kaldi import read_data_dir
from seqkd.errors import ConfigError, DataError
from tests.corpora.speech.fillets_game import LEVELS, save_game

SETS = {
    "train": {"split": "train"},
    "train_cs": {"split": "train", "languages": ["cs"]},
    "small": {"subset_of": "train_cs", "utterances": 6},
    "unlabelled": {"subset_of": "train_cs", "without": "small", "transcripts": False},
    "dev": {"split": "dev", "languages": ["cs"]},
    "test": {"split": "test", "languages": ["cs"]},
}


@pytest.fixture
def game(tmp_path: Path) -> Path:
    return save_game(tmp_path / "downloads")


def make(game: Path, name: str = "data", **settings: Any) -> Path:
    data = game.parent / name
    make_corpus(data, **{"nj": 2, "seed": 1, "sets": SETS, "downloads": game, "sample_rate": 8000, **settings})
    return data


def contents(path: Path) -> dict[str, str]:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_scripts_are_read(game: Path) -> None:
    lines = read_script(next(game.rglob("level3/dialogs_cs.lua")))
    assert len(lines) == 7
    assert lines[0] == ("a-m", "font_small", 'Yes "indeed".', "Anofea, „jistě“, rybo fea.")
    assert lines[1][3] == "Něco delšího - o úhoři fea."


@pytest.mark.parametrize(
    ("raw", "language", "text"),
    [
        ("Haló, kde\njsi?!", "cs", "haló kde jsi"),
        ("Zo’n vis; 't is z'n beurt.", "nl", "zo'n vis t is z'n beurt"),
        ("Strč prst skrz krk.", "cs", "strč prst skrz krk"),
        ("Konkrétně %1 hodin!", "cs", None),
        ("Druk op F3.", "nl", None),
        ("Подожди", "cs", None),
        ("Ñandú", "nl", None),
        ("Ááááá...", "cs", ""),
        ("Grmbl...", "nl", ""),
        ("...", "nl", ""),
    ],
)
def test_texts_become_words(raw: str, language: str, text: str | None) -> None:
    assert normalise(raw, language) == text


def test_outliers() -> None:
    assert unusable("x" * 30, 2.0, 20) is None
    assert unusable("x" * 45, 2.0, 20) == "with less speech than text"
    assert unusable("voda", 2.5, 20) is None  # short lines have silence at their ends
    assert unusable("neviditelnou silou", 5.4, 20) == "with more sound than text"
    assert unusable("x" * 100, 21, 20) == "longer than 20 s"
    assert unusable("ano", 0.0, 20) == "without words"


def test_lines(game: Path) -> None:
    lines, dropped = read_lines(game, 20.0)
    assert len(lines) == 3 * 2 * LEVELS
    assert dropped == {"without words": 2 * LEVELS, "with digits, signs or other alphabets": 4 * LEVELS}
    one = next(line for line in lines if line.id == "cs_small-level3-a_m")
    assert (one.text, one.english, one.speaker) == ("anofea jistě rybo fea", 'Yes "indeed".', "cs_small")


def test_levels_and_texts_are_in_one_split() -> None:
    rng = random.Random(0)
    lines = [
        Line(language, f"l{n // 4}", f"{n}", "big", rng.choice([f"text {n}", "ano", "ne ne"]), "", Path(), rng.random())
        for n in range(200)
        for language in ("cs", "nl")
    ]
    splits = split_lines(lines, DEFAULT_SHARES, 3)
    assert sorted(map(id, (line for one in splits.values() for line in one))) == sorted(map(id, lines))
    texts = {name: {(line.language, line.text) for line in one} for name, one in splits.items()}
    assert not texts["train"] & texts["dev"] | texts["train"] & texts["test"] | texts["dev"] & texts["test"]
    unique = {name: {x.level for x in one if x.text.startswith("text")} for name, one in splits.items()}
    assert not unique["dev"] & unique["test"] and not unique["train"] & (unique["dev"] | unique["test"])
    assert splits == split_lines(lines[::-1], DEFAULT_SHARES, 3)


def test_the_corpus(game: Path) -> None:
    data = make(game)
    sets = {name: {u.id: u for u in read_data_dir(data / name)} for name in SETS}
    assert {u.speaker for u in sets["train"].values()} == {"cs_small", "cs_big", "nl_small", "nl_big"}
    assert {u.speaker for u in sets["test"].values()} <= {"cs_small", "cs_big"}
    assert len(sets["small"]) == 6 and not set(sets["small"]) & set(sets["unlabelled"])
    assert set(sets["small"]) | set(sets["unlabelled"]) == set(sets["train_cs"]) < set(sets["train"])
    assert not (data / "unlabelled" / "text").exists()
    held_out = {u.text for name in ("dev", "test") for u in sets[name].values()}
    assert held_out and not held_out & {u.text for u in sets["train"].values()}
    assert all(u.text == "plaveme dál" for u in sets["train"].values() if u.id.endswith("-same"))
    one = next(u for u in sets["train"].values() if u.speaker == "nl_small")
    info = soundfile.info(one.audio)
    assert (info.samplerate, info.channels, info.format) == (8000, 1, "FLAC")
    assert info.duration == pytest.approx(1.5, abs=0.01)


def test_it_is_kept_and_does_not_depend_on_jobs(game: Path) -> None:
    data = make(game)
    before = {file: file.stat().st_mtime_ns for file in data.rglob("*.flac")}
    make(game)
    assert before == {file: file.stat().st_mtime_ns for file in data.rglob("*.flac")}
    assert contents(make(game, "other", nj=1)) == contents(data)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sets": {"x": {"split": "eval"}}}, "Set 'x': split is 'eval', expected one of train, dev, test."),
        (
            {"sets": {"x": {"split": "dev", "languages": ["de"]}}},
            "Set 'x': languages are ['de'], expected some of cs, nl.",
        ),
        ({"sets": {"x": {"split": "dev", "copies": 2}}}, "Set 'x' has unknown key 'copies'; known are languages, "),
        ({"max_seconds": 0}, "max_seconds is 0, expected a number from 0.1 to 3600."),
    ],
)
def test_bad_settings(game: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(game, **settings)
    assert str(caught.value).startswith(message)


def test_nothing_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "download", lambda packages, folder: "apt-get is not installed")
    with pytest.raises(DataError) as caught:
        fetch_game(tmp_path)
    assert str(caught.value) == (
        "The Fish Fillets recordings could not be fetched (apt-get is not installed); put the Debian packages "
        "fillets-ng-data_*.deb, fillets-ng-data-cs_*.deb and fillets-ng-data-nl_*.deb (on a machine with dpkg), or "
        f"the unpacked folders script and sound of the game, into {tmp_path} and run this again."
    )
