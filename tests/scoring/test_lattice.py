"""References with alternatives and optionally deletable words."""

import itertools
import random

import pytest

from seqkd.errors import DataError
from seqkd.scoring import SCLITE, Normalizer, count, score
from seqkd.scoring.lattice import align, parse


@pytest.mark.parametrize(
    ("reference", "hypothesis", "counts", "words"),
    [
        ("{it's / it is} fine", "it is fine", (0, 0, 0), 3),
        ("{it's / it is} fine", "it's fine", (0, 0, 0), 2),
        ("{ it's / it is } fine", "it fine", (0, 1, 0), 3),
        ("a {b/c/@} d", "a d", (0, 0, 0), 2),
        ("a {b / { c / d } e} f", "a d e f", (0, 0, 0), 4),
        ("well (uh) yes", "well yes", (0, 0, 0), 3),
        ("well (uh) yes", "well uh yes", (0, 0, 0), 3),
        ("{ @ / a }", "", (0, 0, 0), 0),
        ("(uh)", "", (0, 0, 0), 1),
        ("", "x", (0, 0, 1), 0),
    ],
)
def test_counts(reference, hypothesis, counts, words):
    for costs in ((0, 0, 0), SCLITE):
        chosen, _, ops = align(parse(reference, "all"), hypothesis.split(), *costs)
        assert tuple(ops.count(op) for op in (1, 2, 3)) == counts
        assert len(chosen) == words


def test_an_optional_word_and_another():
    # One error either way; sclite's costs prefer the substitution, the fewest substitutions the insertion.
    lattice, hypothesis = parse("well (uh) yes", "all"), ["well", "um", "yes"]
    assert align(lattice, hypothesis, *SCLITE)[2] == [0, 1, 0]
    assert sorted(align(lattice, hypothesis, 0, 0, 0)[2]) == [0, 0, 3, 4]


def test_the_best_of_all_readings_is_found():
    source = random.Random(6)
    for _ in range(150):
        slots = [
            [" ".join(source.choices("abc", k=source.randint(0, 2))) for _ in range(source.randint(1, 3))]
            for _ in range(source.randint(1, 4))
        ]
        reference = " ".join("{ " + " / ".join(option or "@" for option in slot) + " }" for slot in slots)
        hypothesis = " ".join(source.choices("abc", k=source.randint(0, 6)))
        readings = [" ".join(" ".join(options).split()) for options in itertools.product(*slots)]
        plain = count(readings, [hypothesis] * len(readings), characters=False).words
        best = min(zip(plain.errors.tolist(), plain.substitutions.tolist(), strict=True))
        ours = count([reference], [hypothesis], characters=False, markup="alternatives").words
        assert (ours.errors[0], ours.substitutions[0]) == best


def test_plain_references_are_as_without_markup():
    result = score(["a b c", "a { b / c }"], ["a x c", "a c"], markup="alternatives", replicates=10)
    assert (result.wer.substitutions, result.wer.words) == (1, 5)
    literally = score(["a b c", "a { b / c }"], ["a x c", "a c"], replicates=10)
    assert literally.wer.words == 9
    assert literally.cer.words == len("a b c" + "a { b / c }")


def test_normalisers_leave_the_marks_alone():
    references = ["{It's / IT IS} fine, (Uh) {Well! / ,}"]
    result = score(
        references,
        ["it is fine"],
        markup="all",
        normalizer=Normalizer("lower,contractions,no-punctuation"),
        replicates=1,
    )
    assert result.wer.errors == 0
    assert result.wer.words == 4  # it is fine, and the optional one


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("a } b", "Reference 2: '}' without '{' before it."),
        ("a { b / c", "Reference 2: '{' without '}' after it, at '{ b / c'."),
        ("a { b / } c", "Reference 2: an alternative is empty; write @ for one without words."),
        ("a { } c", "Reference 2: an alternative is empty; write @ for one without words."),
    ],
)
def test_faults(reference, sentence):
    with pytest.raises(DataError) as fault:
        count(["a", reference], ["a", "b"], markup="alternatives")
    assert str(fault.value) == sentence
