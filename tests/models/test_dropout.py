from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from seqkd.data.features import FeatureSettings
from seqkd.models.ctc import CtcModel
from seqkd.models.dropout import LEVELS, BitDropout, attend, random_bits

ROWS = torch.randn(500, 77, generator=torch.Generator().manual_seed(0))


def dropped(p: float, x: torch.Tensor = ROWS, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return BitDropout(p)(x)


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_a_share_of_p_is_dropped_and_the_rest_scaled_by_its_inverse(p: float) -> None:
    x = dropped(p, torch.ones(1000, 1001))
    exact = round(p * LEVELS) / LEVELS
    assert abs(exact - p) <= 0.5 / LEVELS
    assert x.unique().tolist() == [0.0, pytest.approx(1 / (1 - exact), rel=1e-6)]
    assert float((x == 0).float().mean()) == pytest.approx(p, abs=4 * (p * (1 - p) / 1e6) ** 0.5)


def test_elements_are_dropped_independently() -> None:
    """Of neighbours, of elements cut from one number of 64 bits, and of two calls."""
    torch.manual_seed(0)
    layer = BitDropout(0.3)
    one, two = (layer(torch.ones(400_000)) == 0 for _ in range(2))
    for other in (two, one.roll(1), one.roll(2), one.roll(4)):
        assert float((one & other).float().mean()) == pytest.approx(0.09, abs=0.002)


def test_bits_are_uniform() -> None:
    bits = random_bits(2**20)
    assert bits.dtype == torch.int16 and (int(bits.min()), int(bits.max())) == (-(2**15), 2**15 - 1)
    counts = torch.bincount((bits.int() + 2**15) // 2**10)  # 64 bins, 16384 in each but for chance
    assert (counts - 2**14).abs().max() < 6 * 2**7
    assert random_bits(5).shape == (5,) and random_bits(0).shape == (0,)


def test_torchs_seed_decides() -> None:
    assert dropped(0.5, seed=1).equal(dropped(0.5, seed=1))
    assert not dropped(0.5, seed=1).equal(dropped(0.5, seed=2))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        forked = BitDropout(0.5)(ROWS)
    assert forked.equal(dropped(0.5, seed=1))


def test_what_drops_nothing_or_all_is_torchs() -> None:
    layer = BitDropout(0.5).eval()
    assert layer(ROWS) is ROWS
    assert BitDropout(0.0)(ROWS).equal(ROWS)
    assert BitDropout(1.0)(ROWS).equal(torch.zeros_like(ROWS))
    with pytest.raises(ValueError, match="between 0 and 1"):
        BitDropout(1.5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_gradient_is_the_mask(dtype: torch.dtype) -> None:
    x = torch.ones(50, 40, dtype=dtype, requires_grad=True)
    y = dropped(0.25, x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert y.dtype == gradient.dtype == dtype and gradient.equal(y.detach())


def test_attention_is_torchs_but_for_the_masks() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 2, 9, 8) for _ in range(3))
    valid = (torch.arange(9) < torch.tensor([9, 4, 1])[:, None])[:, None, None, :]
    plain = functional.scaled_dot_product_attention(q, k, v, attn_mask=valid)
    for layer in (BitDropout(0.3).eval(), BitDropout(0.0), nn.Dropout(0.3).eval()):
        torch.testing.assert_close(attend(q, k, v, valid, layer), plain)
    torch.testing.assert_close(attend(q, k, v, valid, BitDropout(1e-9)), plain)  # the branch that drops
    layer = BitDropout(0.3)
    mean = torch.stack([attend(q, k, v, valid, layer) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, plain, rtol=0, atol=0.12)


@pytest.mark.parametrize("architecture", [{"encoder": "conv"}, {"encoder": "conformer", "heads": 2}], ids=str)
def test_encoders_use_it(architecture: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"width": 16, "layers": 2, "hidden": 32, "kernel": 3, "dropout": 0.1, "subsampling_channels": 4}
    model = CtcModel(architecture | sizes, FeatureSettings(num_mel_bins=20), 5)
    model(torch.randn(2, 30, 20), torch.tensor([30, 20]))
    plain = functional.dropout

    def none_of_torchs(x: torch.Tensor, p: float, training: bool = True, inplace: bool = False) -> torch.Tensor:
        assert not training
        return plain(x, p, training, inplace)

    monkeypatch.setattr(functional, "dropout", none_of_torchs)
    model(torch.randn(2, 30, 20), torch.tensor([30, 20]))
    model.eval()(torch.randn(2, 30, 20), torch.tensor([30, 20]))
