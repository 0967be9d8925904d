"""ARPA files read without KenLM: the same numbers as KenLM's, and faults in one sentence."""

from __future__ import annotations

import gzip
import itertools
import sys

import pytest

from seqkd.decoding.arpa import read_arpa
from seqkd.decoding.language_model import LanguageModel
from seqkd.decoding.ngram import NGram, train_ngram
from seqkd.errors import DataError

TEXTS = ["a b a", "b a", "a b b a c", "c a b", "a", "b b", "c c a b a"]
WORDS = ["b", "a", "c", "nobody's"]


def answers(model: LanguageModel) -> list[float]:
    """Of every sentence of up to four words: the probability of each word, and of the end."""
    found = [model.unigram(word) for word in range(len(WORDS))]
    for length in range(5):
        for sentence in itertools.product(range(len(WORDS)), repeat=length):
            history = model.start()
            for word in sentence:
                history, log_prob = model.follow(history, word)
                found.append(log_prob)
            found.append(model.finish(history))
    return found


@pytest.mark.parametrize("order", [2, 3, 5])
@pytest.mark.parametrize("unknown", [True, False])
def test_numbers_are_kenlms(tmp_path, order, unknown, monkeypatch):
    pytest.importorskip("flashlight.lib.text.decoder.kenlm")
    path = tmp_path / "lm.arpa"
    train_ngram(TEXTS, order).write_arpa(path)
    if not unknown:
        lines = path.read_text().replace("ngram 1=6", "ngram 1=5").splitlines(keepends=True)
        path.write_text("".join(line for line in lines if "<unk>" not in line))
    expected = answers(LanguageModel(path, WORDS))
    monkeypatch.setitem(sys.modules, "flashlight.lib.text.decoder.kenlm", None)
    assert answers(LanguageModel(path, WORDS)) == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_what_was_written_is_read(tmp_path):
    model = train_ngram(TEXTS, 3)
    model.write_arpa(tmp_path / "lm.arpa")
    (tmp_path / "lm.gz").write_bytes(gzip.compress((tmp_path / "lm.arpa").read_bytes()))
    for name in ("lm.arpa", "lm.gz"):
        read = read_arpa(tmp_path / name)
        assert isinstance(read, NGram) and read.order == 3
        assert read.log_probs == pytest.approx(model.log_probs, abs=1e-6)
        assert read.backoffs == pytest.approx(model.backoffs, abs=1e-6)


HEAD = "\\data\\\nngram 1=2\nngram 2=1\n\n\\1-grams:\n-1 <s> -0.5\n-1 a\n\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("just words\n", "begins with another line than \\data\\; expected an ARPA file."),
        ("", "begins with another line than \\data\\; expected an ARPA file."),
        (HEAD, "ends without \\end\\: it was cut off."),
        (HEAD + "\\end\\\n", "promises 2-grams and has none; it is damaged."),
        (HEAD + "\\2-grams:\n\\end\\\n", "has 0 2-grams and promises 1; it is damaged."),
        (HEAD + "\\3-grams:\n", "line 9: \\3-grams: were not promised by a line 'ngram 3=...' above."),
        (HEAD + "\\2-grams:\n-1 a\n", "line 10: found '-1 a', expected log10 probability, 2 words, perhaps log10 of"),
        (HEAD + "\\2-grams:\nnan a b\n", "line 10: found 'nan a b', expected log10 probability"),
        ("\\data\\\nngram one\n", "line 2: found 'ngram one', expected ngram N=COUNT."),
    ],
)
def test_faults(tmp_path, text, sentence):
    (tmp_path / "x.arpa").write_text(text)
    with pytest.raises(DataError) as fault:
        read_arpa(tmp_path / "x.arpa")
    assert sentence in str(fault.value) and str(tmp_path / "x.arpa") in str(fault.value)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "x").write_bytes(HEAD.encode() + b"\\2-grams:\n-1 a \xff\n")
    with pytest.raises(DataError, match="line 10"):
        read_arpa(tmp_path / "x")
    (tmp_path / "x.gz").write_bytes(gzip.compress(HEAD.encode())[:40])
    with pytest.raises(DataError, match="cannot be read"):
        read_arpa(tmp_path / "x.gz")
