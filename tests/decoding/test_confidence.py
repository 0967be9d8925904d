"""How sure a model is of what it decoded."""

import math

import pytest
import torch

from seqkd.decoding import greedy_decode, prefix_beam_search
from seqkd.decoding.confidence import token_confidences, word_confidences


def logits_of(frames):
    """(T, 4) logits whose softmax gives the probabilities of each frame."""
    return torch.tensor(frames).log()


FRAMES = [
    [0.7, 0.1, 0.1, 0.1],
    [0.2, 0.6, 0.1, 0.1],  # 1
    [0.1, 0.8, 0.05, 0.05],  # 1, surer
    [0.9, 0.05, 0.03, 0.02],
    [0.1, 0.5, 0.2, 0.2],  # 1 again, after a blank
    [0.1, 0.1, 0.3, 0.5],  # 3
]


def test_greedy_tokens_have_the_highest_probability_of_their_frames():
    logits = logits_of(FRAMES)
    (tokens,) = greedy_decode(logits[None], torch.tensor([6]))
    assert tokens == [1, 1, 3]
    assert token_confidences(logits, tokens) == pytest.approx([0.8, 0.5, 0.5], abs=1e-6)


def test_any_other_hypothesis_is_aligned_first():
    logits = logits_of(FRAMES)
    assert token_confidences(logits, [1, 2]) == pytest.approx([0.8, 0.3], abs=1e-6)
    best = prefix_beam_search(logits[None], torch.tensor([6]), beam_size=4)[0][0]
    assert len(token_confidences(logits, best.tokens)) == len(best.tokens)
    assert token_confidences(logits, []) == []


def test_words_multiply_their_tokens():
    pieces = {1: "ab", 2: "c", 3: " d"}
    decode = lambda tokens: "".join(pieces[token] for token in tokens)  # noqa: E731
    assert word_confidences([1, 2, 3, 2], [0.9, 0.5, 0.8, 1.0], decode) == pytest.approx([0.45, 0.8])
    assert word_confidences([], [], decode) == []
    assert math.prod(word_confidences([3], [0.25], decode)) == 0.25
