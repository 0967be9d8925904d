from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from seqkd.models.layers import DepthwiseConv, RotaryAttention, Subsampling, rotary_angles, rotate, valid_frames


def test_valid_frames() -> None:
    expected = [[True, True, False], [False, False, False], [True, True, True]]
    assert valid_frames(torch.tensor([2, 0, 3]), 3).tolist() == expected


@pytest.mark.parametrize("kernel", [1, 3, 11])
def test_depthwise_convolution_is_conv1d_with_groups(kernel: int) -> None:
    torch.manual_seed(0)
    layer = DepthwiseConv(6, kernel)
    x, lengths = torch.randn(3, 17, 6), torch.tensor([17, 9, 1])
    valid = valid_frames(lengths, 17)
    expected = functional.conv1d(
        (x * valid[..., None]).transpose(1, 2), layer.conv.weight.squeeze(-1), layer.conv.bias,
        padding=kernel // 2, groups=6,
    ).transpose(1, 2)  # fmt: skip
    torch.testing.assert_close(layer(x, valid), expected, rtol=1e-5, atol=1e-6)


def scores(q: torch.Tensor, k: torch.Tensor, first: int) -> torch.Tensor:
    """Attention scores when the sequence begins at position ``first``."""
    angles = rotary_angles(first + q.shape[2], q.shape[3], q.device)[first:]
    return rotate(q, angles) @ rotate(k, angles).transpose(-1, -2)


def test_rotary_positions_are_relative() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 3, 12, 8, dtype=torch.float64).unbind(0)
    torch.testing.assert_close(scores(q, k, 57), scores(q, k, 0), rtol=0, atol=2e-5)
    # ... and there are positions: the same content elsewhere scores differently.
    same = q[:, :, :1].expand(-1, -1, 12, -1)
    row = scores(same, same, 0)[0, 0, 0]
    assert (row[1:] - row[0]).abs().max() > 0.1


def test_rotation_keeps_lengths_and_type() -> None:
    x = torch.randn(2, 3, 10, 8)
    turned = rotate(x, rotary_angles(10, 8, x.device))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(turned[:, :, 0], x[:, :, 0])  # position 0 is not turned
    assert rotate(x.bfloat16(), rotary_angles(10, 8, x.device)).dtype == torch.bfloat16


def test_attention_is_the_textbook_formula_on_valid_frames() -> None:
    torch.manual_seed(0)
    layer = RotaryAttention(8, 2, dropout=0.0).eval()
    x, length = torch.randn(1, 7, 8), 5
    q, k, v = (part.view(7, 2, 4).transpose(0, 1) for part in layer.qkv(x[0]).chunk(3, dim=-1))  # (H, T, D/H)
    angles = rotary_angles(7, 4, x.device)
    weights = (rotate(q[None], angles)[0] @ rotate(k[None], angles)[0].transpose(1, 2) / 2)[:, :, :length].softmax(-1)
    expected = layer.out((weights @ v[:, :length]).transpose(0, 1).reshape(7, 8))
    torch.testing.assert_close(layer(x, valid_frames(torch.tensor([length]), 7))[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("frames", "bins"), [(1, 4), (2, 5), (7, 20), (8, 23)])
def test_subsampling_by_four(frames: int, bins: int) -> None:
    out, lengths = Subsampling(bins, 6, 3)(torch.randn(1, frames, bins), torch.tensor([frames]))
    assert out.shape == (1, -(-frames // 4), 6)
    assert lengths.tolist() == [-(-frames // 4)]
