"""Beam search against the enumeration of all sequences, and against itself sentence by sentence."""

from __future__ import annotations

import itertools

import pytest
import torch

from seqkd.decoding.beam import beam_search
from seqkd.models.seq2seq import Seq2SeqModel

ARCHITECTURES = {
    "transformer": {"kind": "transformer", "width": 16, "layers": 1, "decoder_layers": 2, "heads": 2, "hidden": 24},
    "lstm": {"kind": "lstm", "width": 16, "layers": 1, "decoder_layers": 2},
}


def model(kind: str, classes: int, seed: int = 0) -> Seq2SeqModel:
    torch.manual_seed(seed)
    made = Seq2SeqModel({**ARCHITECTURES[kind], "dropout": 0.0}, classes).eval()
    torch.nn.init.normal_(made.embedding.weight, std=1.0)  # opinions strong enough to differ
    return made


def scored(made: Seq2SeqModel, source: torch.Tensor, tokens: tuple[int, ...], penalty: float, forced: bool) -> float:
    """Log-probability of a sequence and its end, read off one teacher-forced pass."""
    inputs = torch.tensor([[0, *tokens]])
    with torch.no_grad():
        log_probs = made(source, torch.tensor([source.shape[1]]), inputs)[0].log_softmax(-1)
    total = sum(float(log_probs[at, token]) for at, token in enumerate(tokens))
    total += 0.0 if forced else float(log_probs[len(tokens), 0])
    return total / (len(tokens) + 1) ** penalty


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_wide_beam_is_exhaustive_search(kind: str, penalty: float, seed: int) -> None:
    made, longest, classes = model(kind, 4, seed), 3, 4
    source = torch.randint(1, classes, (1, 5))
    sequences = [s for n in range(longest + 1) for s in itertools.product(range(1, classes), repeat=n)]
    scores = {s: scored(made, source, s, penalty, len(s) == longest) for s in sequences}
    (found,) = beam_search(
        made, source, torch.tensor([5]), beam=60, length_penalty=penalty, max_ratio=0.0, max_extra=longest
    )
    assert {tuple(one.tokens) for one in found} == set(sequences)
    assert [one.score for one in found] == pytest.approx(sorted(scores.values(), reverse=True), abs=1e-5)
    best = max(sequences, key=scores.get)
    assert tuple(found[0].tokens) == best
    assert found[0].score == pytest.approx(scores[best], abs=1e-5)


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("beam", [1, 3])
def test_other_sentences_do_not_matter(kind: str, beam: int) -> None:
    made = model(kind, 12)
    torch.manual_seed(5)
    lengths = torch.tensor([7, 2, 4, 1])
    source = torch.randint(1, 12, (4, 7))
    together = beam_search(made, source, lengths, beam=beam)
    for row, length in enumerate(lengths.tolist()):
        (alone,) = beam_search(made, source[row : row + 1, :length], lengths[row : row + 1], beam=beam)
        assert [one.tokens for one in alone] == [one.tokens for one in together[row]]
        assert [one.score for one in alone] == pytest.approx([one.score for one in together[row]], abs=1e-5)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_confidences_are_the_models_probabilities(kind: str) -> None:
    made = model(kind, 6, seed=4)
    source = torch.randint(1, 6, (1, 6))
    for one in beam_search(made, source, torch.tensor([6]), beam=4)[0]:
        with torch.no_grad():
            probs = made(source, torch.tensor([6]), torch.tensor([[0, *one.tokens]]))[0].softmax(-1)
        expected = [float(probs[at, token]) for at, token in enumerate(one.tokens)]
        assert one.confidences == pytest.approx(expected, abs=1e-5)
        forced = len(one.tokens) == 19
        assert one.end_confidence == pytest.approx(1.0 if forced else float(probs[-1, 0]), abs=1e-5)


def test_greedy_takes_the_best_token_each_time() -> None:
    made = model("transformer", 9, seed=7)
    source, tokens = torch.randint(1, 9, (1, 4)), []
    for _ in range(16):
        with torch.no_grad():
            token = int(made(source, torch.tensor([4]), torch.tensor([[0, *tokens]]))[0, -1].argmax())
        if token == 0:
            break
        tokens.append(token)
    assert beam_search(made, source, torch.tensor([4]), beam=1)[0][0].tokens == tokens


def test_no_sentences() -> None:
    assert (
        beam_search(model("transformer", 4), torch.zeros(0, 3, dtype=torch.long), torch.zeros(0, dtype=torch.long))
        == []
    )
