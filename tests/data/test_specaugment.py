from __future__ import annotations

import math

import pytest
import torch

from seqkd.data.specaugment import SpecAugment, exclusive_spans, inclusive_spans
from seqkd.errors import ConfigError

LENGTHS = torch.tensor([80, 53, 20, 3, 1])
FILL = torch.linspace(-1, 1, 16)


def mask(augment: SpecAugment, x: torch.Tensor, lengths: torch.Tensor = LENGTHS) -> torch.Tensor:
    """Masked with the fill, as torch's generator says."""
    return torch.where(augment.hidden(x, lengths, augment.draw(len(x), "cpu")), FILL, x)


def warp(augment: SpecAugment, x: torch.Tensor, lengths: torch.Tensor = LENGTHS) -> torch.Tensor:
    """Warped as torch's generator says."""
    return augment.warp_time(x, lengths, augment.draw(len(x), "cpu"))


def features(padding: float = 7.0) -> torch.Tensor:
    """(5, 80, 16), no valid value equal to the fill."""
    made = torch.randn(5, 80, 16, generator=torch.Generator().manual_seed(1)) + 100.0
    for row, length in enumerate(LENGTHS):
        made[row, length:] = padding
    return made


def test_nothing_to_do_is_identity() -> None:
    x = features(float("nan"))
    augment = SpecAugment(freq_masks=0, time_masks=0, warp=0)
    torch.testing.assert_close(mask(augment, x), x, rtol=0, atol=0, equal_nan=True)
    assert warp(augment, x) is x


def test_masked_values_are_the_fill_and_others_untouched() -> None:
    torch.manual_seed(0)
    x = features()
    masked = mask(SpecAugment(), x)
    hidden = masked == FILL
    assert hidden.any()
    assert masked[~hidden].equal(x[~hidden])


def time_hidden(augment: SpecAugment, x: torch.Tensor) -> torch.Tensor:
    """(B, T) frames that are hidden altogether."""
    return (mask(augment, x) == FILL).all(-1)


def test_time_masks_lie_inside_and_keep_to_the_fraction() -> None:
    augment = SpecAugment(freq_masks=0, time_masks=3, time_width=100, time_fraction=0.3, rule="even")
    torch.manual_seed(0)
    shares = []
    for _ in range(300):
        hidden = time_hidden(augment, features())
        assert not any(hidden[row, length:].any() for row, length in enumerate(LENGTHS))
        shares.append(hidden.sum(1) / LENGTHS)
    share = torch.stack(shares)
    assert share.max() <= 0.3
    assert share[:, 0].max() > 0.2  # the limit is used
    assert share[:, 0].min() < 0.05


LHOTSE = {"time_masks": 10, "time_width": 100, "time_fraction": 0.15}  # icefall's settings, too


@pytest.mark.parametrize("factor, number", [(1.0, 2), (2.5, 5)])  # 2.5: CR-CTC's
def test_few_long_masks_are_lhotses(factor: float, number: int) -> None:
    augment = SpecAugment(**LHOTSE).stronger_time_masks(factor)
    assert [one.tolist() for one in augment.time_limits(torch.tensor([1230]))] == [[number], [92]]


def test_many_short_masks_are_the_even_rules() -> None:
    augment = SpecAugment(**LHOTSE, rule="even")
    assert [one.tolist() for one in augment.time_limits(torch.tensor([1230]))] == [[10], [18]]
    stronger = augment.stronger_time_masks(2.5)
    assert [one.tolist() for one in stronger.time_limits(torch.tensor([1230]))] == [[25], [18]]


@pytest.mark.parametrize("masks, width, share", [(10, 100, 0.15), (2, 20, 0.2), (25, 100, 0.375), (3, 7, 0.0)])
def test_number_and_width_are_lhotses_at_every_length(masks: int, width: int, share: float) -> None:
    augment = SpecAugment(time_masks=masks, time_width=width, time_fraction=share)
    lengths = torch.arange(1, 3000)
    limits = torch.stack([lengths, *augment.time_limits(lengths)], 1)
    for length, number, widest in limits.tolist():
        hidden = share * length  # as in lhotse's SpecAugment._forward_single
        expected = min(masks, math.ceil(hidden / width))
        assert (number, widest) == (expected, min(width, hidden // expected) if expected else 0), length


def test_masks_are_distributed_as_lhotses() -> None:
    """Of lhotse's own transform and of ours: how often each frame is hidden, and how many are, over many draws."""
    from lhotse.dataset import SpecAugment as Lhotse

    length, count = 130, 4000
    theirs = Lhotse(time_warp_factor=None, num_feature_masks=0, num_frame_masks=4, frames_mask_size=30, p=1.0,
                    max_frames_mask_fraction=0.4)  # fmt: skip
    torch.manual_seed(0)
    x = torch.ones(count, length, 1)
    x[:, ::2] = -1.0  # whose mean is 0
    lhotse = theirs(x) == 0
    augment = SpecAugment(freq_masks=0, time_masks=4, time_width=30, time_fraction=0.4)
    ours = augment.hidden(x, torch.full((count,), length), augment.draw(count, "cpu"))
    torch.testing.assert_close(ours[..., 0].float().mean(0), lhotse[..., 0].float().mean(0), rtol=0, atol=0.04)
    shares = [one[..., 0].sum(1).float() for one in (ours, lhotse)]
    assert abs(float(shares[0].mean() - shares[1].mean())) < 0.5
    assert abs(float(shares[0].std() - shares[1].std())) < 0.5
    assert shares[0].max() <= 2 * 25 and not ours[:, -1].any() and not lhotse[:, -1].any()  # 52 // 2 = 26 is excluded


def test_masks_that_are_not_taken_hide_nothing() -> None:
    augment = SpecAugment(freq_masks=0, time_masks=10, time_width=100, time_fraction=0.15)
    torch.manual_seed(0)
    lengths = torch.tensor([1230, 60, 3])
    x = torch.zeros(3, 1230, 1)
    for _ in range(50):
        hidden = augment.hidden(x, lengths, augment.draw(3, "cpu"))[..., 0].int()
        begun = (hidden.diff(dim=1) == 1).sum(1) + hidden[:, 0]
        assert begun[0] <= 2 and begun[1] <= 1 and begun[2] == 0
        assert (hidden.sum(1) <= torch.tensor([2 * 91, 8, 0])).all()


def test_an_unknown_rule_is_an_error() -> None:
    with pytest.raises(ConfigError, match="rule is 'icefall'; expected one of lhotse, even"):
        SpecAugment(rule="icefall")


@pytest.mark.parametrize("rule, widths", [("lhotse", {0, 1, 2, 3}), ("even", {0, 1, 2, 3, 4})])
def test_time_masks_keep_to_the_width(rule: str, widths: set[int]) -> None:
    augment = SpecAugment(freq_masks=0, time_masks=1, time_width=4, time_fraction=1.0, rule=rule)
    torch.manual_seed(0)
    assert {int(w) for _ in range(200) for w in time_hidden(augment, features())[:3].sum(1)} == widths


def test_every_frame_is_hidden_about_equally_often() -> None:
    augment = SpecAugment(freq_masks=0, time_masks=1, time_width=6, time_fraction=1.0, rule="even")
    torch.manual_seed(0)
    counts = torch.stack([time_hidden(augment, features())[1, :53] for _ in range(1000)]).float().mean(0)
    assert counts[6:-6].min() > 0.5 * counts[6:-6].max()
    assert counts[0] > 0
    assert counts[-1] > 0  # the last valid frame too


@pytest.mark.parametrize("rule, widest", [("lhotse", 4), ("even", 5)])
def test_frequency_masks_span_the_utterance(rule: str, widest: int) -> None:
    augment = SpecAugment(freq_masks=1, freq_width=5, time_masks=0, rule=rule)
    torch.manual_seed(0)
    widths = set()
    for _ in range(200):
        hidden = mask(augment, features()) == FILL
        assert hidden.equal(hidden[:, :1].expand_as(hidden))
        widths |= set(hidden[:, 0].sum(1).tolist())
    assert widths == set(range(widest + 1))


@pytest.mark.parametrize("augment", [SpecAugment(), SpecAugment(warp=10), SpecAugment(warp=1000)])
def test_padding_changes_nothing(augment: SpecAugment) -> None:
    def augmented(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        return mask(augment, warp(augment, x))

    expected = augmented(features())
    garbage = augmented(features(float("nan")))
    wider = augmented(torch.cat([features(), torch.full((5, 30, 16), float("nan"))], dim=1))
    for row, length in enumerate(LENGTHS):
        assert garbage[row, :length].equal(expected[row, :length])
        assert wider[row, :length].equal(expected[row, :length])


def ramp() -> torch.Tensor:
    """(5, 80, 16) whose value is the frame's number: warping shows where frames went."""
    return torch.arange(80.0)[None, :, None].expand(5, 80, 16).clone()


def test_warping_keeps_length_endpoints_and_order() -> None:
    torch.manual_seed(0)
    moved = []
    for _ in range(200):
        warped = warp(SpecAugment(warp=8), ramp())
        assert warped.shape == (5, 80, 16)
        for row, length in enumerate(LENGTHS):
            inside = warped[row, :length, 0]
            assert inside[0] == 0
            assert inside[-1] == pytest.approx(int(length) - 1, abs=1e-4)
            assert (inside.diff() >= 0).all()
            assert warped[row, length:].equal(ramp()[row, length:])
        moved.append((warped[0, :, 0] - torch.arange(80.0)).abs().max())
    assert max(moved) <= 8 + 1e-4
    assert max(moved) > 6
    assert warped[3:].equal(ramp()[3:])  # too short to have an inner point


def test_warping_is_linear_on_both_sides_of_one_point() -> None:
    torch.manual_seed(1)
    warped = warp(SpecAugment(warp=8), ramp())[0, :, 0]
    bends = (warped.diff().diff().abs() > 1e-3).nonzero()[:, 0]
    assert len(bends) <= 2
    assert len(bends) == 1 or bends[1] == bends[0] + 1


def test_each_utterance_gets_its_own() -> None:
    torch.manual_seed(0)
    same = features()[:1].expand(5, -1, -1)
    lengths = torch.full((5,), 80)
    for result in (mask(SpecAugment(), same, lengths), warp(SpecAugment(warp=8), same, lengths)):
        assert not any(result[0].equal(other) for other in result[1:])
    moved = warp(SpecAugment(warp=8), ramp(), lengths)[..., 0] - torch.arange(80.0)
    assert {bool(row.sum() > 0) for row in moved} == {True, False}  # not all the same way


def test_seeds_decide() -> None:
    def augmented(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        augment = SpecAugment(warp=8)
        return mask(augment, warp(augment, features()))

    assert augmented(4).equal(augmented(4))
    assert not augmented(4).equal(augmented(5))


def test_stronger_time_masks() -> None:
    stronger = SpecAugment(time_masks=2, time_fraction=0.2, freq_masks=2).stronger_time_masks(2.5)
    assert (stronger.time_masks, stronger.time_fraction, stronger.freq_masks) == (5, 0.5, 2)
    assert SpecAugment(time_fraction=0.6).stronger_time_masks(2.5).time_fraction == 1.0
    assert SpecAugment().stronger_time_masks(1.0) == SpecAugment()


def test_spans_by_hand() -> None:
    draws = torch.tensor([[[0.99, 0.0], [0.3, 0.99]], [[0.99, 0.5], [0.0, 0.0]]])  # (B, M, 2): how wide, and where
    hidden = inclusive_spans(draws, torch.tensor([3, 0]), torch.tensor([5, 5]), 6)
    # Row 0: 3 of [0, 5) at 0, and 1 at the last place.
    assert hidden.tolist() == [[True, True, True, False, True, False], [False] * 6]
    hidden = exclusive_spans(draws, torch.tensor([4, 1]), torch.tensor([5, 5]), 6)
    # Row 0: 3 at 0, and 1 at the last place but one. Row 1: none is shorter than 1.
    assert hidden.tolist() == [[True, True, True, True, False, False], [False] * 6]
    each = exclusive_spans(draws[:1], torch.tensor([[4, 0]]), torch.tensor([5]), 6)  # widths of each mask
    assert each.tolist() == [[True, True, True, False, False, False]]


def test_a_seed_is_replayed_in_any_batch() -> None:
    augment = SpecAugment(warp=8, time_masks=3)
    x, ids = features(), ["a", "b", "c", "d", "e"]

    def heard(rows: list[int], seeds: list[int]) -> torch.Tensor:
        draws = augment.replay([ids[row] for row in rows], seeds, "cpu")
        warped = augment.warp_time(x[rows], LENGTHS[rows], draws)
        return torch.where(augment.hidden(warped, LENGTHS[rows], draws), FILL, warped)

    torch.manual_seed(0)
    together = heard([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    torch.manual_seed(1)  # torch's generator has no part in it
    for row in range(5):
        assert heard([row], [row])[0].equal(together[row])
    assert not heard([0], [1])[0].equal(together[0])
    same = torch.arange(2)
    draws = augment.replay(["a", "b"], [0, 0], "cpu")
    assert not draws.time[same[0]].equal(draws.time[same[1]])


def test_replayed_draws_are_uniform() -> None:
    draws = SpecAugment(freq_masks=1, time_masks=1).replay([str(k) for k in range(2000)], [0] * 2000, "cpu")
    for numbers in (draws.warp, draws.freq, draws.time):
        assert ((numbers >= 0) & (numbers < 1)).all()
        assert abs(float(numbers.mean()) - 0.5) < 0.02


def test_a_voice_stretches_the_mel_axis() -> None:
    augment = SpecAugment(mel_warp=0.1)
    bins = torch.arange(16.0).expand(2, 3, 16)  # each value is its bin's number: what is taken from where
    draws = augment.draw(2, "cpu")
    draws.voice[:] = torch.tensor([1.0, 0.25])  # 1.1 and 0.95 times
    warped = augment.warp_voice(bins, draws)
    expected = torch.stack([(torch.arange(16.0) * scale).clamp(max=15.0) for scale in (1.1, 0.95)])
    torch.testing.assert_close(warped, expected[:, None].expand(2, 3, 16))
    draws.voice[:] = 0.5
    torch.testing.assert_close(augment.warp_voice(bins, draws), bins)
    assert SpecAugment().warp_voice(bins, draws) is bins


def test_voices_are_drawn_within_their_share_and_replayed_by_seed() -> None:
    augment = SpecAugment(mel_warp=0.05)
    ids = [str(number) for number in range(500)]
    voices = augment.replay(ids, [3] * 500, "cpu").voice
    assert voices.equal(augment.replay(ids, [3] * 500, "cpu").voice)
    assert not voices.equal(augment.replay(ids, [4] * 500, "cpu").voice)
    assert voices.min() < 0.05 and voices.max() > 0.95 and abs(float(voices.mean()) - 0.5) < 0.05
    plain = SpecAugment().replay(ids, [3] * 500, "cpu")
    assert plain.time.equal(augment.replay(ids, [3] * 500, "cpu").time)  # masks do not depend on it
    with pytest.raises(ConfigError, match="mel_warp is 1"):
        SpecAugment(mel_warp=1.0)
