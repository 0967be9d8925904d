"""Normalisers, mapping files, and their signatures."""

import builtins
import random

import pytest

from seqkd.errors import ConfigError, DataError
from seqkd.scoring import Normalizer, score
from seqkd.scoring.normalize import STEPS, read_glm


@pytest.mark.parametrize(
    ("steps", "text", "expected"),
    [
        ("lower", "Grüße AN Alle", "grüße an alle"),
        ("no-punctuation", "well, yes! «no»", "well yes no"),
        ("no-tags", "[noise] yes <unk> no", "yes no"),
        ("contractions", "we won't, it's", "we will not, it is"),
        ("no-fillers", "uh yes um no hmm", "yes no"),
        ("english", "Uh, [laughs] IT'S fine; we Can't!", "it is fine we can not"),
        ("lower,no-punctuation", "A, b", "a b"),
        ("no-punctuation", "3.5 is not 35, nor 1,000 or 10:30; 5% of -5", "3.5 is not 35 nor 1000 or 10:30 5% of -5"),
        ("no-punctuation", "twenty-one and/or – it’s it's U.S.", "twenty one and or its its US"),
        ("english", "It’s twenty-one, isn’t it? O‘Neil", "it is twenty one is not it oneil"),
        ("contractions", "he’ll can’t", "he will can not"),
        ("apostrophes", "it’s ‘so’", "it's 'so'"),
        ("lower-ascii", "ÄB", "Äb"),
        ("letters", "ab c", "a b c"),
        ("characters", "我们 meet 在 TUESDAY 吧", "我 们 meet 在 TUESDAY 吧"),
        ("punctuation", "Yes, it's 3.5!", "Yes , it's 3.5 !"),
        ("english-numbers", "It's twenty-one. Three point five percent", "it is 21 3.5%"),
    ],
)
def test_steps(steps, text, expected):
    (changed,) = Normalizer(steps)([text])
    assert " ".join(changed.split()) == expected


def test_signatures(tmp_path):
    assert Normalizer().signature == "none"
    assert Normalizer("lower,no-punctuation").signature == "lower+no-punctuation.2"
    (tmp_path / "one.glm").write_text("a => b\nc => d\n")
    (tmp_path / "two.glm").write_text(";; the same rules\nc => d\n[a] => [b] / [ ] __ [ ]\n")
    (tmp_path / "three.glm").write_text("a => b\nc => e\n")
    one, two, three = (Normalizer("lower", tmp_path / f"{name}.glm").signature for name in ("one", "two", "three"))
    assert one == two != three
    assert one.startswith("lower+glm:")
    result = score(["A"], ["a"], normalizer=Normalizer("lower"), replicates=1)
    assert (result.wer.errors, result.options["normalizer"]) == (0, "lower")


def test_mapping_file(tmp_path):
    path = tmp_path / "map.glm"
    path.write_text(
        ';; a comment\n* name "x"\nwanna => want to\n[uh-huh] => [yes]\num =>\nnew york city => nyc\nnew york => ny\n'
        "gonna => {gonna / going to}\n"
    )
    assert read_glm(path)["um"] == ""
    normalizer = Normalizer("lower", path)
    assert normalizer(["um I wanna see New York City not new york", "x"]) == ["i want to see nyc not ny", "x"]
    # Alternatives are for references: whichever the system wrote is right.
    for hypothesis in ("i am gonna go", "i am going to go"):
        assert score(["I am gonna go"], [hypothesis], normalizer=normalizer, replicates=1).wer.errors == 0
    assert score(["I am gonna go"], ["i am going go"], normalizer=normalizer, replicates=1).wer.errors == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a b\n", "line 1: found 'a b'; expected source => target."),
        ("a => b\na => c\n", "line 2: 'a' is mapped a second time."),
        (";; nothing\n", "holds no rules; expected on each line source => target."),
    ],
)
def test_malformed_mapping_files(tmp_path, content, sentence):
    (tmp_path / "map.glm").write_text(content)
    with pytest.raises(DataError) as fault:
        Normalizer("", tmp_path / "map.glm")
    assert sentence in str(fault.value)
    assert str(fault.value).startswith(str(tmp_path / "map.glm"))


def test_unknown_and_uninstalled(monkeypatch):
    with pytest.raises(ConfigError, match="there is no normaliser 'upper'; known: lower, lower-ascii, apo"):
        Normalizer("upper")
    real = builtins.__import__

    def refuse(name, *rest):
        if name.startswith("whisper_normalizer"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigError, match="needs a package that is not installed: pip install whisper-normalizer"):
        Normalizer("whisper-en")


def test_whispers_normaliser():
    pytest.importorskip("whisper_normalizer", reason="the package whisper-normalizer is not installed")
    normalizer = Normalizer("whisper-en")
    assert normalizer(["Mr. Brown's colour is twenty-one, uh, isn't it?"])[0].startswith("mister brown")
    assert normalizer.signature == "whisper-en"
    assert "whisper-en" in STEPS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("twenty-one", "21"),
        ("one hundred and five", "105"),
        ("two thousand and twenty four", "2024"),
        ("nineteen ninety", "1990"),
        ("twenty twenty four", "2024"),
        ("three million four hundred thousand", "3400000"),
        ("three point one four", "3.14"),
        ("zero point five percent", "0.5%"),
        ("the twenty first of May", "the 21st of May"),
        ("third place, fiftieth floor", "3rd place, 50th floor"),
        ("wait a second", "wait a second"),
        ("three five", "3 5"),
        ("1,234 and 5", "1234 and 5"),
        ("one, two", "1, 2"),
        ("the one hundredth time", "the 100th time"),
        ("rock and roll", "rock and roll"),
        ("ten and twelve", "10 and 12"),
        ("well-known", "well-known"),
        ("a hundred", "a hundred"),
    ],
)
def test_numbers(text, expected):
    assert Normalizer("numbers")([text]) == [expected]


def test_every_number_has_one_form():
    num2words = pytest.importorskip("num2words").num2words
    source = random.Random(0)
    for value in [*range(1000), *(source.randrange(10 ** source.randint(4, 12)) for _ in range(2000))]:
        assert Normalizer("numbers")([num2words(value)]) == [str(value)], value


def test_rules_of_ones_own(tmp_path):
    path = tmp_path / "rules"
    path.write_text(";; a comment\n(?i)\\b(\\w+)-\\s*\\1\\b => \\1\n\\(.*?\\) =>\n")
    normalizer = Normalizer("lower", rules=path)
    assert normalizer(["The- the (noise) dog"]) == ["the  dog"]
    assert normalizer.signature.startswith("rules:")
    for content, sentence in (
        ("a ( => b\n", "line 1: 'a ( => b' is no rule"),
        ("a => \\1\n", "line 1: 'a => \\\\1' is no rule"),
        ("a b\n", "line 1: found 'a b'; expected pattern => replacement."),
        ("", "holds no rules; expected on each line pattern => replacement."),
    ):
        path.write_text(content)
        with pytest.raises(DataError) as fault:
            Normalizer("", rules=path)
        assert sentence in str(fault.value)
