import pytest
import torch

from seqkd.decoding import greedy_decode, prefix_beam_search
from seqkd.errors import ConfigError, DataError


def one_hot(path, classes=5):
    return torch.nn.functional.one_hot(torch.tensor(path), classes).float()


@pytest.mark.parametrize(
    ("path", "tokens"),
    [
        ([0, 0, 0, 0], []),
        ([1, 1, 0, 1], [1, 1]),  # a blank separates repeats
        ([1, 1, 1, 1], [1]),
        ([0, 3, 3, 2], [3, 2]),
        ([4, 0, 0, 4], [4, 4]),
    ],
)
def test_collapse(path, tokens):
    assert greedy_decode(one_hot(path)[None], torch.tensor([4])) == [tokens]


def test_another_blank():
    assert greedy_decode(one_hot([4, 0, 0, 4])[None], torch.tensor([4]), blank=4) == [[0]]


def test_padding_is_ignored():
    logits = torch.stack([one_hot([1, 2, 3, 4]), one_hot([1, 2, 3, 4])])
    logits[1, 2:] = float("nan")
    assert greedy_decode(logits, torch.tensor([4, 2])) == [[1, 2, 3, 4], [1, 2]]
    assert greedy_decode(logits, torch.tensor([0, 0])) == [[], []]


def test_half_precision():
    assert greedy_decode(one_hot([1, 0, 2])[None].bfloat16(), torch.tensor([3])) == [[1, 2]]


@pytest.mark.parametrize(
    ("logits", "lengths", "blank", "sentence"),
    [
        (torch.zeros(2, 3), [3, 3], 0, "logits must have shape (B, T, C), but have (2, 3)."),
        (torch.zeros(2, 3, 4), [3], 0, "input_lengths must have shape (2,)"),
        (torch.zeros(1, 3, 4), [4], 0, "input_lengths[0] is 4, but the logits have 3 frames."),
        (torch.zeros(1, 3, 4), [3], 4, "blank is 4, but the logits have classes 0 to 3."),
    ],
)
def test_faults(logits, lengths, blank, sentence):
    with pytest.raises(ConfigError) as fault:
        greedy_decode(logits, torch.tensor(lengths), blank=blank)
    assert sentence in str(fault.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_diverged_models_are_reported(value):
    logits = torch.zeros(2, 3, 4)
    logits[1, 1] = value
    for decode in greedy_decode, prefix_beam_search:
        with pytest.raises(DataError, match="utterance 1 of the batch contain NaN or infinities"):
            decode(logits, torch.tensor([3, 3]))
