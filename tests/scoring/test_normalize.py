"""Normalisers, mapping files, and their signatures."""

import builtins

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
    ],
)
def test_steps(steps, text, expected):
    (changed,) = Normalizer(steps)([text])
    assert " ".join(changed.split()) == expected


def test_signatures(tmp_path):
    assert Normalizer().signature == "none"
    assert Normalizer("lower,no-punctuation").signature == "lower+no-punctuation"
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
        (
            "a => b / [x] __ [ ]\n",
            "line 1: the rule has a context, '/ [x] __ [ ]'; only / [ ] __ [ ], which is anywhere",
        ),
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
    with pytest.raises(ConfigError, match="there is no normaliser 'upper'; known: lower, no-punctuation"):
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
