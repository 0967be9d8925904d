import random
import subprocess
import sys
import unicodedata

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkd.errors import ConfigError, DataError
from seqkd.scoring import count, score

words = st.lists(st.sampled_from(["a", "b", "c", "dd"]), max_size=7)


def levenshtein(reference, hypothesis):
    """Fewest errors, then fewest substitutions: the textbook recursion over (errors, substitutions)."""
    rows, columns = len(reference) + 1, len(hypothesis) + 1
    table = np.empty((rows, columns, 2), dtype=int)
    for i in range(rows):
        for j in range(columns):
            steps = [(0, 0)] if i == j == 0 else []
            if i and j:
                differs = int(reference[i - 1] != hypothesis[j - 1])
                steps.append(tuple(table[i - 1, j - 1] + differs))
            if i:
                steps.append((table[i - 1, j, 0] + 1, table[i - 1, j, 1]))
            if j:
                steps.append((table[i, j - 1, 0] + 1, table[i, j - 1, 1]))
            table[i, j] = min(steps)
    return tuple(int(number) for number in table[-1, -1])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.tuples(words, words), min_size=1, max_size=4))
def test_counts_against_the_textbook(sentences):
    references = {f"u{i}": " ".join(reference) for i, (reference, _) in enumerate(sentences)}
    hypotheses = {f"u{i}": " ".join(hypothesis) for i, (_, hypothesis) in enumerate(sentences)}
    result = count(references, hypotheses)
    for i, (reference, hypothesis) in enumerate(sentences):
        for counts, one, other in [
            (result.words, reference, hypothesis),
            (result.characters, " ".join(reference), " ".join(hypothesis)),
        ]:
            assert (counts.errors[i], counts.substitutions[i]) == levenshtein(one, other)
            assert counts.length[i] == len(one)
            assert counts.deletions[i] - counts.insertions[i] == len(one) - len(other)
            assert min(counts.deletions[i], counts.insertions[i]) >= 0


def random_corpus(utterances, seed=0):
    source = random.Random(seed)
    vocabulary = [f"w{i}" for i in range(30)]
    references, hypotheses = {}, {}
    for i in range(utterances):
        reference = source.choices(vocabulary, k=source.randint(1, 12))
        hypothesis = []
        for word in reference:
            fate = source.random()
            hypothesis += [] if fate < 0.1 else [word, word] if fate < 0.2 else [source.choice(vocabulary)]
        references[f"u{i}"], hypotheses[f"u{i}"] = " ".join(reference), " ".join(hypothesis)
    return references, hypotheses


def test_totals_against_jiwer():
    references, hypotheses = random_corpus(2000)
    result = score(references, hypotheses, replicates=10)
    theirs = jiwer.process_words(list(references.values()), list(hypotheses.values()))
    assert result.wer.errors == theirs.substitutions + theirs.deletions + theirs.insertions
    assert result.wer.substitutions <= theirs.substitutions
    assert result.wer.rate == pytest.approx(theirs.wer)
    assert result.cer.rate == pytest.approx(jiwer.cer(list(references.values()), list(hypotheses.values())))
    wrong = sum(references[u] != hypotheses[u] for u in references)
    assert (result.ser.errors, result.ser.sentences) == (wrong, 2000)


def test_ties_go_to_fewest_substitutions():
    # Two edits either way: replace both words, or insert and delete one. sclite would count the latter too.
    result = score({"u": "a b"}, {"u": "b c"})
    assert (result.wer.substitutions, result.wer.deletions, result.wer.insertions) == (0, 1, 1)


def test_known_rates():
    result = score({"x": "one two three", "y": "four", "z": ""}, {"z": "well", "x": "one three", "y": "for"})
    assert (result.wer.errors, result.wer.words, result.wer.rate) == (3, 4, 0.75)
    assert (result.wer.substitutions, result.wer.deletions, result.wer.insertions) == (1, 1, 1)
    assert (result.ser.errors, result.ser.rate) == (3, 1.0)
    # "two " gone, the u of "four" gone, "well" inserted; 13 + 4 + 0 characters.
    assert (result.cer.errors, result.cer.words) == (9, 17)
    assert result.utterances.ids == ("x", "y", "z")
    assert result.utterances.words.errors.tolist() == [1, 1, 1]


def test_text_is_compared_in_nfc_and_by_words():
    composed, decomposed = unicodedata.normalize("NFC", "grün"), unicodedata.normalize("NFD", "grün")
    assert score({"u": f"{composed}  ja"}, {"u": f" {decomposed}\tja "}).wer.errors == 0
    assert score({"u": "Ja"}, {"u": "ja"}).wer.errors == 1


def test_missing_hypotheses():
    references = {"a": "one two", "b": "three", "c": "four five six"}
    with pytest.raises(DataError) as fault:
        score(references, {"b": "three"})
    assert str(fault.value).startswith("2 utterances (a, c) are without a hypothesis")
    everything = score(references, {"b": "three"}, missing="all")
    assert (everything.wer.deletions, everything.wer.words) == (5, 6)
    present = score(references, {"b": "three"}, missing="present")
    assert (present.wer.errors, present.wer.words) == (0, 1)
    assert everything.utterances.missing == present.utterances.missing == ("a", "c")


@pytest.mark.parametrize(
    ("references", "hypotheses", "sentence"),
    [
        ({"a": "x"}, {"a": "x", "b": "y"}, "1 utterance (b) is without a reference."),
        ({"a": "x"}, dict.fromkeys("abcdef", "x"), "5 utterances (b, c, d, ...) are without a reference."),
        ({"a": ""}, {"a": "x"}, "The references hold no words, so there is no error rate."),
        ({}, {}, "There are no references to score against."),
        ({"": "x"}, {"": "x"}, "An utterance id is empty."),
    ],
)
def test_faults(references, hypotheses, sentence):
    with pytest.raises(DataError) as fault:
        score(references, hypotheses)
    assert str(fault.value) == sentence


def test_unknown_policy():
    with pytest.raises(ConfigError, match="missing is 'drop'; expected one of error, all, present"):
        score({"a": "x"}, {"a": "x"}, missing="drop")


def test_interval_brackets_the_rate_and_depends_on_the_seed_only():
    references, hypotheses = random_corpus(200)
    first = score(references, hypotheses, seed=1)
    shuffled = dict(sorted(references.items(), key=lambda item: item[1]))
    assert score(shuffled, hypotheses, seed=1).wer == first.wer
    assert score(references, hypotheses, seed=2).wer.ci95 != first.wer.ci95
    for rate in first.wer, first.cer, first.ser:
        assert rate.ci95[0] < rate.rate < rate.ci95[1]


def test_import_is_light():
    code = "import sys, seqkd.scoring; print([m for m in sys.modules if '.' not in m])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in "torch", "matplotlib", "omegaconf", "yaml", "scipy":
        assert f"'{heavy}'" not in loaded
