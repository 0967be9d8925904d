"""Made-up parallel text of dates, times, amounts and numbers."""

import builtins
import json
import math
import random
import re
from collections import Counter
from itertools import combinations, islice

import pytest

from seqkd.corpora.text.dates import draw_phrases, make_corpus, split_of
from seqkd.corpora.text.dates_phrases import KINDS, Phrase, draw_phrase
from seqkd.errors import ConfigError, DataError
from seqkd.translation.pairs import read_pairs

SETS = {"train": {"pairs": 300}, "dev": {"pairs": 40}, "test": {"pairs": 60}}


def phrases(count, seed=0):
    rng = random.Random(seed)
    return [draw_phrase(rng) for _ in range(count)]


def renderings(english, kind):
    """The translations of a phrase, found by drawing."""
    rng = random.Random(1)
    draw = next(draw for draw in KINDS if draw.__name__ == f"_{kind}")
    for _ in range(200_000):
        phrase = draw(rng)
        if english(phrase):
            return phrase
    raise AssertionError("no such phrase was drawn")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__.strip("_"))
def test_every_kind(kind):
    rng = random.Random(2)
    made = [kind(rng) for _ in range(200)]
    assert len({phrase.content for phrase in made}) > 60
    assert any(len(phrase.german) > 1 for phrase in made)
    for phrase in made:
        assert sum(weight for weight, _ in phrase.german) == pytest.approx(1, abs=1e-12)
        assert all(weight > 0 for weight, _ in phrase.german)
        for text in (phrase.english, *(text for _, text in phrase.german)):
            assert text == " ".join(text.split()) != ""
            assert "{" not in text
            assert "\u202f" not in text


def test_the_same_phrase_always_has_the_same_renderings():
    """Else the probabilities would not be those of a translation given its source."""
    known = {}
    repeated = 0
    for phrase in phrases(3000):
        found = {text: pytest.approx(weight) for weight, text in phrase.german}
        repeated += phrase.english in known
        assert known.setdefault(phrase.english, found) == found
    assert repeated > 100


def test_known_translations():
    day = renderings(lambda phrase: re.match("March 3,|3 March", phrase.english), "date")
    year = day.content[:4]
    assert {text: weight for weight, text in day.german} == {
        f"3. März {year}": 0.6,
        f"03.03.{year}": 0.25,
        f"3.3.{year}": 0.15,
    }
    half = renderings(lambda phrase: phrase.english == "12:30 AM", "time")
    assert {text: weight for weight, text in half.german} == {
        "00:30 Uhr": 0.6,
        "0 Uhr 30": 0.25,
        "halb eins": 0.15,
    }
    quarter = renderings(lambda phrase: phrase.english == "23:45", "time")
    assert "Viertel vor zwölf" in [text for _, text in quarter.german]
    hour = renderings(lambda phrase: phrase.english == "1:00 PM", "time")
    assert [text for _, text in hour.german] == ["13:00 Uhr", "13 Uhr", "eins"]
    number = renderings(lambda phrase: phrase.english == "one hundred and five", "number")
    assert {text: weight for weight, text in number.german} == {"einhundertfünf": 0.7, "hundertfünf": 0.3}
    ordinal = renderings(lambda phrase: phrase.english in ("the 21st page", "the twenty-first page"), "ordinal")
    assert {text: weight for weight, text in ordinal.german} == {
        "die einundzwanzigste Seite": 0.5,
        "die 21. Seite": 0.5,
    }
    days = renderings(lambda phrase: phrase.english == "in 3 days", "duration")
    assert {text: weight for weight, text in days.german} == {"in 3 Tagen": 0.7, "in drei Tagen": 0.3}


def test_drawn_as_often_as_said():
    phrase = Phrase("x", "x", ((0.5, "a"), (0.3, "b"), (0.2, "c")))
    rng = random.Random(3)
    counts = Counter(phrase.draw(rng) for _ in range(20_000))
    for weight, text in phrase.german:
        deviation = math.sqrt(20_000 * weight * (1 - weight))
        assert abs(counts[text] - 20_000 * weight) < 4 * deviation
    assert phrase.entropy == pytest.approx(-(0.5 * math.log(0.5) + 0.3 * math.log(0.3) + 0.2 * math.log(0.2)))
    assert Phrase("x", "x", ((1.0, "a"),)).entropy == 0


def test_splits_share_no_content():
    contents = {
        split: {phrase.content for phrase in islice(draw_phrases(split, 1, split), 300)}
        for split in ("train", "dev", "test")
    }
    for one, other in combinations(contents, 2):
        assert not contents[one] & contents[other]
    counts = Counter(split_of(f"content {index}", 1) for index in range(5000))
    assert counts["dev"] == pytest.approx(500, abs=100)
    assert counts["test"] == pytest.approx(1000, abs=120)
    assert [split_of(f"c{index}", 1) for index in range(50)] != [split_of(f"c{index}", 2) for index in range(50)]


def contents(path):
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def test_corpus(tmp_path, capsys):
    make_corpus(tmp_path / "one", nj=1, seed=1, sets=SETS)
    assert {name: len(read_pairs(tmp_path / "one" / name)) for name in SETS} == {"train": 300, "dev": 40, "test": 60}
    origin = json.loads((tmp_path / "one" / "origin.json").read_text())
    entropy = 0.0
    lines = (tmp_path / "one" / "test.renderings.jsonl").read_text().splitlines()
    for line, pair in zip(lines, read_pairs(tmp_path / "one" / "test"), strict=True):
        known = json.loads(line)
        assert known["id"] == pair.id
        assert pair.target in known["renderings"]
        entropy -= sum(weight * math.log(weight) for weight in known["renderings"].values())
    assert origin["least_nll_per_pair"]["test"] == pytest.approx(entropy / 60, rel=1e-6)
    assert set(origin["versions"]) == {"babel", "num2words"}

    make_corpus(tmp_path / "two", nj=2, seed=1, sets=SETS)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    capsys.readouterr()
    make_corpus(tmp_path / "two", nj=2, seed=1, sets=SETS)
    assert "made already" in capsys.readouterr().err
    make_corpus(tmp_path / "two", nj=2, seed=2, sets=SETS)
    assert contents(tmp_path / "two") != contents(tmp_path / "one")


def test_sets_do_not_depend_on_each_other_and_fewer_pairs_are_part_of_more(tmp_path):
    make_corpus(tmp_path / "one", nj=1, seed=1, sets={"train": {"pairs": 100}, "test": {"pairs": 30}})
    make_corpus(tmp_path / "two", nj=1, seed=1, sets={**SETS, "more": {"pairs": 20, "split": "test"}})
    one, two = ({name: read_pairs(tmp_path / part / name) for name in ("train", "test")} for part in ("one", "two"))
    assert two["train"][:100] == one["train"]
    assert two["test"][:30] == one["test"]
    more = read_pairs(tmp_path / "two" / "more")
    assert [pair.source for pair in more] != [pair.source for pair in two["test"][:20]]


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ({}, "The corpus has no sets; name at least one under `sets`."),
        ({"train": 5}, "Set 'train' is 5, expected settings."),
        ({"train": {}}, "Set 'train': pairs is None, expected a whole number from 1."),
        ({"train": {"pairs": 0}}, "Set 'train': pairs is 0, expected a whole number from 1."),
        ({"train": {"pairs": 5, "size": 1}}, "Set 'train' has unknown key 'size'; known are pairs, split."),
        ({"eval": {"pairs": 5}}, "Set 'eval': split is 'eval', expected one of train, dev, test."),
        ({"a/b": {"pairs": 5}}, "'a/b' cannot name a set; use letters, digits, '-' and '_'."),
    ],
)
def test_wrong_settings(tmp_path, sets, expected):
    with pytest.raises(ConfigError) as caught:
        make_corpus(tmp_path / "data", nj=1, seed=1, sets=sets)
    assert str(caught.value) == expected
    assert not (tmp_path / "data").exists()


def test_missing_library(tmp_path, monkeypatch):
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "num2words":
            raise ImportError("no", name=name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match="num2words is not installed; it comes with pip install"):
        make_corpus(tmp_path / "data", nj=1, seed=1, sets=SETS)
