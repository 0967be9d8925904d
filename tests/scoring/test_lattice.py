"""References with alternatives and optionally deletable words."""

import itertools
import random

import pytest

from seqkd import native
from seqkd.errors import DataError
from seqkd.scoring import FEWEST, SCLITE, Normalizer, count, score
from seqkd.scoring.lattice import align, parse
from seqkd.scoring.schema import signature


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


@pytest.mark.parametrize(
    ("reference", "hypothesis", "options", "characters"),
    [
        ("(uh) hello (um) there", "hello there", {"markup": "all"}, len("hello there")),
        ("(uh) hello there", "uh hello there", {"markup": "all"}, len("uh hello there")),
        ("hello", "(uh) hello", {"hypothesis_markup": "all"}, len("hello")),
        ("the fi- swims", "the fish swims", {"fragments": True}, len("the fish swims")),
        ("the fish swims", "the -sh swims", {"fragments": True}, len("the fish swims")),
        ("the fi- swims", "the fis- swims", {"fragments": True}, len("the fi- swims")),
        ("{ the / a } fi- (uh) swims", "a fish swims", {"markup": "all", "fragments": True}, len("a fish swims")),
    ],
)
def test_what_is_right_as_words_is_right_in_characters_and_tokens(reference, hypothesis, options, characters):
    for costs in (FEWEST, SCLITE):
        done = score([reference, "ok"], [hypothesis, "ok"], costs=costs, tokenizer=str.encode, replicates=1, **options)
        assert (done.wer.errors, done.cer.errors, done.ter.errors) == (0, 0, 0)
        assert done.cer.words == done.ter.words == characters + len("ok")


def test_characters_of_what_is_wrong_are_counted_as_before():
    done = score(["(uh) hello fi- there"], ["um hello bird"], markup="all", fragments=True, costs=SCLITE, replicates=1)
    assert "|fragments:right|" in signature(done.options)  # whoever quotes the rate says so
    assert "fragments" not in signature(score(["a"], ["a"], replicates=1).options)
    assert (done.wer.errors, done.wer.words) == (3, 4)
    assert done.cer.errors == score(["uh hello fi- there"], ["um hello bird"], replicates=1).cer.errors


def test_references_of_nothing_but_optional_words():
    with pytest.raises(DataError, match="The references hold no words but optional ones that were left out"):
        score(["(uh)"], [""], markup="all", replicates=1)
    assert score(["(uh)"], [""], markup="all", characters=False, replicates=1).wer.errors == 0


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


def random_reference(source, slots):
    """Alternations, nested and not, optional words, and words between them."""

    def words(least):
        return " ".join(source.choices("abcd", k=source.randint(least, 3)))

    def alternation(depth):
        options = [
            alternation(depth - 1) + " " + words(0) if depth and source.random() < 0.3 else words(0) or "@"
            for _ in range(source.randint(1, 3))
        ]
        return "{ " + " / ".join(options) + " }"

    kinds = [lambda: alternation(2), lambda: f"({source.choice('abcd')})", lambda: words(1)]
    return " ".join(source.choice(kinds)() for _ in range(slots))


@pytest.mark.parametrize("limits", ["as built", "small"])
@pytest.mark.parametrize("costs", [(0, 0, 0), SCLITE, (3, 1, 2)], ids=str)
def test_compiled_and_python_agree(limits, costs, request, monkeypatch):
    library = request.getfixturevalue("small_limits") if limits == "small" else native.library()
    if library is None:
        pytest.skip("the compiled part was not built")
    source = random.Random(7)
    for _ in range(150):
        lattice = parse(random_reference(source, source.randint(1, 12)), "all")
        hypothesis = source.choices("abcde", k=source.randint(0, 20))
        monkeypatch.setattr(native, "library", lambda: library)
        ours = align(lattice, hypothesis, *costs)
        monkeypatch.setattr(native, "library", lambda: None)
        assert ours == align(lattice, hypothesis, *costs)


def test_one_alternation_in_a_long_reference():
    """It took five seconds in Python."""
    source = random.Random(8)
    words = source.choices([f"w{i}" for i in range(500)], k=2000)
    done = count([" ".join([*words, "{ x / y z }", *words])], [" ".join([*words[:-1], "y", "z", *words])],
                 markup="alternatives", characters=False)  # fmt: skip
    assert (done.words.errors.tolist(), done.words.deletions.tolist()) == ([1], [1])
