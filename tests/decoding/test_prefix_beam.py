import itertools
import math
import time

import pytest
import torch

from seqkd.decoding import greedy_decode, prefix_beam_search
from seqkd.errors import ConfigError


def collapse(path, blank):
    return tuple(token for token, _ in itertools.groupby(path) if token != blank)


def enumerate_sequences(logits, blank):
    """Every token sequence's log-probability, by summing over all C ** T paths; logits (T, C)."""
    log_probs = logits.double().log_softmax(-1)
    total = {}
    for path in itertools.product(range(logits.shape[1]), repeat=logits.shape[0]):
        logp = sum(log_probs[t, c].item() for t, c in enumerate(path))
        total.setdefault(collapse(path, blank), []).append(logp)
    return {tokens: math.log(sum(map(math.exp, logps))) for tokens, logps in total.items()}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("frames", "classes", "blank"), [(5, 3, 0), (4, 4, 3), (6, 2, 0), (1, 4, 1)])
def test_exact_with_a_large_beam(frames, classes, blank, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(frames, classes, generator=generator)
    expected = enumerate_sequences(logits, blank)
    (found,) = prefix_beam_search(
        logits[None], torch.tensor([frames]), blank=blank, beam_size=10_000, token_min_logp=-math.inf
    )
    assert {tuple(h.tokens) for h in found} == expected.keys()
    for hypothesis in found:
        assert hypothesis.score == pytest.approx(expected[tuple(hypothesis.tokens)], abs=1e-9)
    scores = [h.score for h in found]
    assert scores == sorted(scores, reverse=True)
    assert sum(map(math.exp, scores)) == pytest.approx(1)


def test_probable_sequence_beats_the_best_path():
    # The textbook case: the best path is two blanks (.36), but "1" has three alignments (.64 together).
    logits = torch.tensor([[0.6, 0.4], [0.6, 0.4]]).log()[None]
    (found,) = prefix_beam_search(logits, torch.tensor([2]))
    assert greedy_decode(logits, torch.tensor([2])) == [[]]
    assert [h.tokens for h in found] == [[1], []]
    assert math.exp(found[0].score) == pytest.approx(0.64)
    assert math.exp(found[1].score) == pytest.approx(0.36)


def test_repeats_need_a_blank():
    path = torch.tensor([1, 0, 1])
    logits = 20 * torch.nn.functional.one_hot(path, 3).float()[None]
    assert prefix_beam_search(logits, torch.tensor([3]))[0][0].tokens == [1, 1]
    path = torch.tensor([1, 1, 1])
    logits = 20 * torch.nn.functional.one_hot(path, 3).float()[None]
    assert prefix_beam_search(logits, torch.tensor([3]))[0][0].tokens == [1]


def test_padding_and_empty_utterances():
    logits = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([6, 3, 0])
    spoilt = logits.clone()
    spoilt[1, 3:] = float("nan")
    assert prefix_beam_search(spoilt, lengths) == prefix_beam_search(logits, lengths)
    alone = prefix_beam_search(logits[1:2, :3], torch.tensor([3]))
    assert alone[0] == prefix_beam_search(logits, lengths)[1]
    (empty,) = prefix_beam_search(logits, lengths)[2:]
    assert [(h.tokens, h.score) for h in empty] == [([], 0.0)]


def test_long_utterances_do_not_underflow():
    logits = torch.randn(1, 2000, 12, generator=torch.Generator().manual_seed(0))
    (found,) = prefix_beam_search(logits, torch.tensor([2000]), beam_size=2)
    assert len(found) == 2
    assert math.isfinite(found[0].score)
    assert found[0].score < -1000


def test_impossible_blank():
    logits = torch.tensor([[-math.inf, 0.0], [-math.inf, 0.0]])[None]
    (found,) = prefix_beam_search(logits, torch.tensor([2]))
    assert [(h.tokens, h.score) for h in found] == [([1], 0.0)]


def test_beam_size_and_pruning():
    logits = torch.randn(2, 20, 50, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([20, 20])
    assert all(len(n_best) == 3 for n_best in prefix_beam_search(logits, lengths, beam_size=3))
    # The best class survives any threshold.
    (found, _) = prefix_beam_search(logits, lengths, token_min_logp=0.0)
    assert found[0].tokens
    with pytest.raises(ConfigError, match="beam_size must be at least 1, but is 0"):
        prefix_beam_search(logits, lengths, beam_size=0)


def test_quick_on_peaked_output():
    """Trained CTC models are sure of most frames; ten such utterances of 8 s must not take seconds."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(10, 200, 500, generator=generator)
    logits.scatter_(2, torch.randint(0, 500, (10, 200, 1), generator=generator), 16.0)
    started = time.perf_counter()
    prefix_beam_search(logits, torch.full((10,), 200))
    assert time.perf_counter() - started < 20  # about 1 s; generous for a busy machine
