"""MixUp: inputs and targets in the same shares; what only one clip reaches is its own."""

from __future__ import annotations

import pytest
import torch

from seqkd.classification.batches import ClipBatch
from seqkd.classification.mixing import mix
from seqkd.losses import CrossEntropy, Labels, Outputs

LENGTHS = torch.tensor([4, 2, 4, 3, 1, 4])


def batch() -> ClipBatch:
    """Clips that are their own number in every valid cell, so that a mixture shows its parts."""
    valid = torch.arange(4) < LENGTHS[:, None]
    features = (torch.arange(6.0)[:, None, None] + 1).expand(6, 4, 2) * valid[..., None]
    return ClipBatch(features, LENGTHS, torch.arange(6)[:, None], torch.arange(6))


def test_with_alpha_0_nothing_is_mixed_or_drawn() -> None:
    state, before = torch.get_rng_state(), batch()
    assert mix(before, 0.0) is before and before.mixed is None
    assert torch.get_rng_state().equal(state)


def test_inputs_and_targets_are_mixed_in_the_same_shares() -> None:
    torch.manual_seed(1)
    found = mix(batch(), 1.0)
    other, share = found.mixed[:, 0], found.share
    assert sorted(other.tolist()) == list(range(6)) and (other != torch.arange(6)).sum() > 2
    assert ((share > 0) & (share < 1)).all() and len(share.unique()) == 6
    assert found.targets.equal(batch().targets) and found.rows.equal(batch().rows)
    assert found.lengths.equal(torch.maximum(LENGTHS, LENGTHS[other]))
    for clip in range(6):
        one, two = batch().features[clip], batch().features[other[clip]]
        both = int(min(LENGTHS[clip], LENGTHS[other[clip]]))
        torch.testing.assert_close(found.features[clip, :both], (share[clip] * one + (1 - share[clip]) * two)[:both])
        alone = one if LENGTHS[clip] > both else two
        torch.testing.assert_close(found.features[clip, both:], alone[both:])  # or padding, which stays 0


def test_shares_are_drawn_from_beta() -> None:
    many = ClipBatch(torch.zeros(4000, 1, 1), torch.ones(4000), torch.zeros(4000, 1), torch.arange(4000))
    for alpha in (0.2, 1.0, 4.0):
        torch.manual_seed(0)
        share = mix(many, alpha).share
        assert float(share.mean()) == pytest.approx(0.5, abs=0.02)
        assert float(share.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)
    torch.manual_seed(0)
    again = mix(many, 4.0).share
    assert again.equal(share)


def test_cross_entropy_is_linear_in_the_mixed_target() -> None:
    torch.manual_seed(2)
    found = mix(batch(), 0.4)
    logits = torch.randn(1, 6, 1, 6, dtype=torch.float64)
    student, one = Outputs(logits, torch.ones(6, dtype=torch.long)), torch.ones(6, dtype=torch.long)
    loss = lambda targets, **mixed: CrossEntropy()(student, None, Labels(targets, one, **mixed))  # noqa: E731
    share = found.share.double()
    expected = share * loss(found.targets) + (1 - share) * loss(found.mixed)
    torch.testing.assert_close(loss(found.targets, mixed=found.mixed, share=share), expected)
    all_of_the_first = loss(found.targets, mixed=found.mixed, share=torch.ones(6, dtype=torch.float64))
    assert all_of_the_first.equal(loss(found.targets))
