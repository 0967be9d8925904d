"""The forced alignment is the most probable of all paths that spell the transcript."""

from __future__ import annotations

import itertools

import torch

from seqkd.ctc.alignment import forced_alignment


def spells(path: tuple[int, ...], blank: int) -> list[int]:
    return [unit for unit, _ in itertools.groupby(path) if unit != blank]


def test_against_the_enumeration_of_all_paths() -> None:
    torch.manual_seed(0)
    frames, classes = torch.tensor([5, 4, 5, 3]), 3
    logits = 3 * torch.randn(4, 5, classes)
    targets, lengths = torch.tensor([[1, 2], [1, 1], [2, 9], [9, 9]]), torch.tensor([2, 2, 1, 0])
    found = forced_alignment(logits, targets, frames, lengths)
    log_probs = logits.log_softmax(-1)
    for row in range(3):
        count, wanted = int(frames[row]), targets[row, : lengths[row]].tolist()
        paths = [p for p in itertools.product(range(classes), repeat=count) if spells(p, 0) == wanted]
        best = max(paths, key=lambda path: sum(float(log_probs[row, t, c]) for t, c in enumerate(path)))
        assert found[row, :count].tolist() == list(best)
        assert (found[row, count:] == -100).all()
    assert (found[3] == -100).all()  # no transcript, no path


def test_another_blank() -> None:
    torch.manual_seed(1)
    logits = torch.randn(1, 6, 4)
    moved = logits[..., [1, 2, 3, 0]]  # class c becomes c − 1, the blank the last
    found = forced_alignment(logits, torch.tensor([[2, 3]]), torch.tensor([6]), torch.tensor([2]))
    other = forced_alignment(moved, torch.tensor([[1, 2]]), torch.tensor([6]), torch.tensor([2]), blank=3)
    assert ((found - 1) % 4).tolist() == other.tolist()
