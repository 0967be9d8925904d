"""One-sided and pooled consistency in closed form; what holds for every term, test_terms.py tries of both."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from seqkd.errors import ConfigError
from seqkd.losses import Consistency, Labels, Objective, Outputs
from seqkd.losses.one_sided import OneSidedConsistency
from seqkd.losses.pooled_consistency import PooledConsistency
from seqkd.tasks.asr.work import masked_share

EXAMPLES = {
    "one_sided": OneSidedConsistency(),
    "one_sided_frames": OneSidedConsistency(by="frame"),
    "pooled_consistency": PooledConsistency(),
    "pooled_consistency_detached": PooledConsistency(window=3, detach=True),
}
NO_GRADCHECK = {"one_sided", "one_sided_frames", "pooled_consistency_detached"}  # gradients stopped on purpose

LENGTHS = torch.tensor([3, 2])
NONE = Labels(torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))


def logits(seed: int = 0, passes: int = 2) -> Tensor:
    return torch.randn(passes, 2, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def masked(*shares: list[list[float]]) -> Tensor:
    return torch.tensor(shares)


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(-1)


# Of item 0 less is masked in pass 0, of item 1 in pass 1; what stands in item 1's padding counts for nothing.
HIDDEN = masked([[0.0, 0.2, 0.0], [0.9, 0.0, 0.0]], [[0.5, 0.0, 0.0], [0.0, 0.4, 9.0]])


def test_the_pass_that_was_masked_less_teaches_the_other() -> None:
    z = logits().requires_grad_()
    value = OneSidedConsistency()(Outputs(z, LENGTHS, hidden=HIDDEN), None, NONE)
    p = z.detach().log_softmax(-1)
    torch.testing.assert_close(value[0], kl(p[0, 0], p[1, 0]).sum())
    torch.testing.assert_close(value[1], kl(p[1, 1, :2], p[0, 1, :2]).sum())
    (gradient,) = torch.autograd.grad(value.sum(), z)
    expected = torch.zeros_like(gradient)
    expected[1, 0] = p[1, 0].exp() - p[0, 0].exp()
    expected[0, 1, :2] = p[0, 1, :2].exp() - p[1, 1, :2].exp()
    torch.testing.assert_close(gradient, expected)


def test_by_frame_each_pass_teaches_where_the_other_is_masked() -> None:
    z = logits().requires_grad_()
    value = OneSidedConsistency(by="frame")(Outputs(z, LENGTHS, hidden=HIDDEN), None, NONE)
    p = z.detach().log_softmax(-1)
    # Item 0: frame 0 is masked more in pass 1, frame 1 in pass 0, frame 2 in neither.
    torch.testing.assert_close(value[0], kl(p[0, 0, 0], p[1, 0, 0]) + kl(p[1, 0, 1], p[0, 0, 1]))
    (gradient,) = torch.autograd.grad(value.sum(), z)
    assert (gradient[:, 0, 2] == 0).all() and (gradient[:, 1, 2] == 0).all()
    torch.testing.assert_close(gradient[0, 0, 1], p[0, 0, 1].exp() - p[1, 0, 1].exp())
    assert (gradient[1, 0, 1] == 0).all()


def test_the_learner_passes_gradcheck() -> None:
    fixed = logits()

    def value(learner: Tensor) -> Tensor:  # of item 0, pass 1 learns; of item 1, pass 0
        both = torch.stack([torch.stack([fixed[0, 0], learner[1]]), torch.stack([learner[0], fixed[1, 1]])])
        return OneSidedConsistency()(Outputs(both, LENGTHS, hidden=HIDDEN), None, NONE)

    assert torch.autograd.gradcheck(value, torch.stack([fixed[1, 0], fixed[0, 1]]).requires_grad_())


def test_equal_masks_teach_nothing_and_unknown_ones_let_the_first_pass_teach() -> None:
    z = logits(passes=3)
    same = torch.full((3, 2, 3), 0.25)
    assert (OneSidedConsistency()(Outputs(z, LENGTHS, hidden=same), None, NONE) == 0).all()
    p = z.log_softmax(-1)
    value = OneSidedConsistency()(Outputs(z, LENGTHS), None, NONE)
    pairs = [kl(p[i, 0], p[j, 0]).sum() for i, j in ((0, 1), (0, 2), (1, 2))]
    torch.testing.assert_close(value[0], sum(pairs) / 3)
    assert (OneSidedConsistency()(Outputs(z[:1], LENGTHS), None, NONE) == 0).all()


def test_a_window_of_one_is_plain_consistency() -> None:
    for detach in (False, True):
        both = []
        for term in (PooledConsistency(window=1, detach=detach), Consistency(detach=detach)):
            z = logits(passes=3).requires_grad_()
            value = term(Outputs(z, LENGTHS), None, NONE)
            both.append((value.detach(), torch.autograd.grad(value.sum(), z)[0]))
        torch.testing.assert_close(both[0], both[1])


def test_probabilities_are_averaged_over_the_valid_frames_of_a_window() -> None:
    z = logits()
    p = z.softmax(-1)
    q = torch.stack([p[:, 0, :2].mean(1), p[:, 0].mean(1), p[:, 0, 1:].mean(1)], 1)  # (P, T, C) of item 0, W = 3
    expected = 0.5 * ((q[0] - q[1]) * (q[0].log() - q[1].log())).sum()
    value = PooledConsistency(window=3)(Outputs(z, LENGTHS), None, NONE)
    torch.testing.assert_close(value[0], expected)
    short = p[:, 1, :2].mean(1)  # item 1 has two frames, both in both windows
    torch.testing.assert_close(value[1], ((short[0] - short[1]) * (short[0].log() - short[1].log())).sum())


def spike(at: int, frames: int = 40) -> Tensor:
    """(1, T, C) logits of one unit at a frame, blank elsewhere."""
    z = torch.full((1, frames, 3), -6.0, dtype=torch.float64)
    z[..., 0] = 6.0
    z[0, at] = torch.tensor([-6.0, 6.0, -6.0])
    return z


def test_a_spike_that_is_late_costs_less_and_one_that_is_missing_does_not() -> None:
    lengths, labels = (
        torch.tensor([40]),
        Labels(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)),
    )

    def ratio(other: Tensor) -> float:
        both = Outputs(torch.stack([spike(20), other]), lengths)
        return float(PooledConsistency()(both, None, labels) / Consistency()(both, None, labels))

    silent = torch.full((1, 40, 3), -6.0, dtype=torch.float64)
    silent[..., 0] = 6.0
    assert ratio(spike(21)) < 0.25
    assert ratio(silent) > 2 * ratio(spike(21))
    assert math.isfinite(ratio(spike(39)))


@pytest.mark.parametrize("window", [0, 4, -1, 2.0, True, "5"])
def test_a_window_is_an_odd_number_of_frames(window: object) -> None:
    with pytest.raises(ConfigError, match="expected an odd number of frames"):
        PooledConsistency(window=window)


def test_who_teaches_is_one_of_two() -> None:
    with pytest.raises(ConfigError, match="by is 'item'; expected one of utterance, frame"):
        OneSidedConsistency(by="item")


def test_weight_zero_asks_for_nothing() -> None:
    for term in (OneSidedConsistency(weight=0.0), PooledConsistency(weight=0.0)):
        assert Objective(term=term)(Outputs(logits() * torch.nan, LENGTHS), {}, NONE).terms == {}


def test_the_share_that_is_masked_is_that_of_a_frames_own_features() -> None:
    hidden = torch.zeros(2, 1, 10, 5, dtype=torch.bool)  # 10 feature frames, 3 encoder frames of 4, 4 and 2
    hidden[0, 0, :4] = True
    hidden[1, 0, 9] = True
    torch.testing.assert_close(masked_share(hidden, 3, 2), torch.tensor([[[1.0, 0, 0]], [[0, 0, 0.5]]]))
    assert masked_share(hidden[:1], 3, 2) is None and masked_share(hidden[:1], 3, 1) is None
