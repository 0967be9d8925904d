import random
from collections import Counter

import pytest

from seqkd.corpora.speech.phrases import VOCABULARIES, make_phrase, phrase_lengths, vocabulary_words
from seqkd.errors import ConfigError


def draw(vocabulary, count, seed=0, words=None):
    rng = random.Random(seed)
    return [make_phrase(vocabulary, rng, words) for _ in range(count)]


@pytest.mark.parametrize(
    ("vocabulary", "fewest", "most"), [("digits", 10, 10), ("commands", 95, 115), ("words1000", 950, 1150)]
)
def test_vocabularies(vocabulary, fewest, most):
    words = set(vocabulary_words(vocabulary))
    assert fewest <= len(words) <= most
    assert all(word.isascii() and word.isalpha() and word.islower() for word in words)
    used = Counter(word for phrase in draw(vocabulary, 12000) for word in phrase.split(" "))
    assert set(used) == words  # no word outside the list, and none that never comes up
    # The share of phrases that a model could get right by knowing the commonest word alone stays small.
    assert used.most_common(1)[0][1] < 0.12 * sum(used.values())


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_lengths(vocabulary):
    low, high = phrase_lengths(vocabulary)
    lengths = {len(phrase.split()) for phrase in draw(vocabulary, 3000)}
    assert lengths == set(range(low, high + 1))
    assert {len(phrase.split()) for phrase in draw(vocabulary, 50, words=(4, 5))} == {4, 5}


def test_most_test_phrases_are_new():
    for vocabulary, new in (("commands", 0.7), ("words1000", 0.99)):
        known = set(draw(vocabulary, 3000, seed=1))
        assert sum(phrase not in known for phrase in draw(vocabulary, 500, seed=2)) > new * 500


def test_the_generator_decides():
    assert draw("commands", 5, seed=3) == draw("commands", 5, seed=3) != draw("commands", 5, seed=4)


def test_unknown_vocabulary():
    with pytest.raises(ConfigError, match=r"^Vocabulary 'x' is not known; known are digits, commands, words1000\.$"):
        draw("x", 1)


def test_impossible_lengths():
    with pytest.raises(ConfigError, match="'digits' makes no phrases of 7 to 9 words; its own are 3 to 6"):
        draw("digits", 1, words=(7, 9))
