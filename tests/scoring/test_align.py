"""The compiled aligner, its fallback, and a plain one that is slow and obvious."""

import random
import sys
import unicodedata
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkd import native
from seqkd.errors import ConfigError, DataError
from seqkd.scoring import fallback
from seqkd.scoring.align import align, compiled, number_characters, number_tokens, number_words
from seqkd.scoring.words import DELETION, FEWEST, INSERTION, MATCH, SCLITE, SUBSTITUTION, Costs, parse_costs
from tests.scoring.corpora import adversarial, corpus

COSTS = [FEWEST, SCLITE, Costs(1, 1, 1), Costs(3, 1, 1), Costs(1, 9, 2)]


@pytest.fixture(params=["compiled", "fallback"])
def either(request, monkeypatch):
    """Run a test with the compiled part and without."""
    if request.param == "fallback":
        monkeypatch.setattr(native, "library", lambda: None)
    elif compiled() is None:
        pytest.skip("the compiled part was not built")


def plainly(reference, hypothesis, costs):
    """Least costs from the beginning; the diagonal at ties, then the insertion; read from the end."""
    substitution, deletion, insertion = costs if costs.substitution else ((1, 1), (1, 0), (1, 0))
    zero = 0 if costs.substitution else (0, 0)
    add = (lambda a, b: a + b) if costs.substitution else (lambda a, b: (a[0] + b[0], a[1] + b[1]))

    @cache
    def best(i, j):
        if i == j == 0:
            return zero, None
        if i == 0:
            return add(best(0, j - 1)[0], insertion), INSERTION
        if j == 0:
            return add(best(i - 1, 0)[0], deletion), DELETION
        same = reference[i - 1] == hypothesis[j - 1]
        across = add(best(i - 1, j - 1)[0], zero if same else substitution)
        down, right = add(best(i - 1, j)[0], deletion), add(best(i, j - 1)[0], insertion)
        if across <= down and across <= right:
            return across, MATCH if same else SUBSTITUTION
        return (down, DELETION) if down < right else (right, INSERTION)

    i, j, ops = len(reference), len(hypothesis), []
    while i or j:
        ops.append(best(i, j)[1])
        i -= ops[-1] != INSERTION
        j -= ops[-1] != DELETION
    return ops[::-1]


tokens = st.lists(st.integers(0, 3), max_size=9)


@pytest.mark.parametrize("costs", COSTS, ids=str)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(pairs=st.lists(st.tuples(tokens, tokens), max_size=6))
def test_against_the_plain_one(costs, pairs):
    sides = [number_tokens([pair[side] for pair in pairs]) for side in (0, 1)]
    ours = align(*sides, costs)
    assert ours.ops.dtype == np.uint8
    for index, (reference, hypothesis) in enumerate(pairs):
        ops = plainly(reference, hypothesis, costs)
        assert ours[index].tolist() == ops
        assert ours.counts[index].tolist() == [ops.count(op) for op in (SUBSTITUTION, DELETION, INSERTION)]


@pytest.mark.parametrize("costs", COSTS, ids=str)
def test_compiled_and_fallback_agree(costs, monkeypatch):
    if compiled() is None:
        pytest.skip("the compiled part was not built")
    references, hypotheses = corpus(1500, seed=3, longest=25)
    more, others = adversarial(1000, seed=4)
    long = random.Random(5)
    references |= more | {"long": " ".join(long.choices("abcdef", k=900))}
    hypotheses |= others | {"long": " ".join(long.choices("abcdef", k=1100))}
    texts = [list(references.values()), [hypotheses[utterance] for utterance in references]]

    def run():
        sides, vocabulary = number_words(texts)
        return sides, list(vocabulary), align(*sides, costs), align(*sides, costs, keep=False)

    ours = run()
    monkeypatch.setattr(native, "library", lambda: None)
    theirs = run()
    assert ours[1] == theirs[1]
    for one, other in zip(ours[0], theirs[0], strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.offsets, other.offsets)
    np.testing.assert_array_equal(ours[2].ops, theirs[2].ops)
    np.testing.assert_array_equal(ours[2].offsets, theirs[2].offsets)
    for counts in (theirs[2].counts, ours[3].counts, theirs[3].counts):
        np.testing.assert_array_equal(ours[2].counts, counts)


@pytest.mark.usefixtures("either")
@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    texts=st.lists(
        st.text(st.sampled_from("ab\t \n\r\x0b\x0c\x1b\x1c\x1f\x85\u00a0\u2003\u2028é\u0301e漢\0"), max_size=20)
    )
)
def test_words_are_those_of_python(texts):
    (numbered,), vocabulary = number_words([texts])
    assert [[vocabulary[word] for word in line] for line in numbered] == [
        unicodedata.normalize("NFC", text).split() for text in texts
    ]
    assert len(set(vocabulary)) == len(vocabulary)


@pytest.mark.usefixtures("either")
def test_groups_share_numbers():
    (ours, theirs, none), vocabulary = number_words([["a b", "c"], ["b", "a c c"], []])
    assert [ours[0].tolist(), ours[1].tolist(), theirs[0].tolist(), theirs[1].tolist()] == [[0, 1], [2], [1], [0, 2, 2]]
    assert len(none) == 0
    assert list(vocabulary) == ["a", "b", "c"]


@pytest.mark.usefixtures("either")
def test_a_vocabulary_that_grows():
    words = [f"{i:x}" * (i % 9 + 1) for i in range(60_000)]
    (numbered,), vocabulary = number_words([[" ".join(words), " ".join(reversed(words))]])
    assert numbered[0].tolist() == list(reversed(numbered[1].tolist()))
    assert len(vocabulary) == len(set(words))
    assert all(vocabulary[number] == word for number, word in zip(numbered[0], words, strict=True))


@pytest.mark.usefixtures("either")
def test_nothing_and_empty_sides():
    empty = number_tokens([])
    assert len(align(empty, empty).counts) == 0
    ours = align(number_tokens([[], [1, 2], [], [3]]), number_tokens([[], [], [4, 5, 6], [3]]))
    assert ours.counts.tolist() == [[0, 0, 0], [0, 2, 0], [0, 0, 3], [0, 0, 0]]
    assert [ours[i].tolist() for i in range(4)] == [[], [DELETION] * 2, [INSERTION] * 3, [MATCH]]


def test_more_tokens_than_16_bits_hold():
    if compiled() is None:
        pytest.skip("the compiled part was not built")
    size = 1 << 16
    reference = number_tokens([[0] * size])
    hypothesis = number_tokens([[1, 2, *[0] * (size - 2)]])
    assert align(reference, hypothesis, keep=False).counts.tolist() == [[2, 0, 0]]


def test_characters():
    texts = ["a b", "", "漢😀"]
    assert number_characters(texts).lengths.tolist() == [3, 0, 2]
    assert number_characters(texts, spaces=False).lengths.tolist() == [2, 0, 2]


def test_half_a_surrogate_pair_is_a_fault():
    with pytest.raises(DataError, match="Transcript 2 holds half a surrogate pair, which is not Unicode text"):
        number_words([["a", "b\ud800"]])


def test_different_numbers_of_utterances():
    with pytest.raises(DataError, match="There are 1 references and 2 hypotheses; expected as many"):
        align(number_tokens([[1]]), number_tokens([[1], [2]]))


def test_costs():
    assert parse_costs("4,3,3") == SCLITE
    for wrong in ("4,3", "0,3,3", "a,b,c", "4,3,3,3", "99999,3,3", "-4,3,3"):
        with pytest.raises(ConfigError, match=f"costs are '{wrong}'; expected those of a substitution"):
            parse_costs(wrong)


def test_the_compiled_part_is_there_where_it_must_be(request):
    """In the project's own environment it is built; elsewhere the fallback serves."""
    if compiled() is None:
        print(f"the compiled aligner is not built for Python {sys.version_info[:2]}: tests ran on the fallback")


@pytest.mark.parametrize(("length", "costs"), [(33_000, FEWEST), (2_100, Costs(1 << 20, 1 << 20, 1 << 20))])
def test_long_utterances_are_not_too_much_for_the_numbers_of_the_fallback(length: int, costs: Costs) -> None:
    """A match, and then deletions only, whose costs add up to more than 31 bits."""
    references, hypotheses = number_tokens([[1] + [0] * length]), number_tokens([[1]])
    counts, ops, _ = fallback.align(references, hypotheses, costs, keep=True)
    assert counts.tolist() == [[0, length, 0]]
    assert ops.tolist() == [MATCH] + [DELETION] * length
