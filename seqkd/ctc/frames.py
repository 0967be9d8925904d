"""Valid frames: what keeps padding out of every value and gradient.

Letters: B utterances, T frames, C classes.
"""

import torch
from torch import Tensor


def frame_mask(input_lengths: Tensor, frames: int, device: torch.device | None = None) -> Tensor:
    """Which frames are valid.

    Args:
        input_lengths: (B,) valid frames of each utterance.
        frames: T.
        device: where the mask goes; by default where the lengths are.

    Returns:
        (B, T) bool, True for a valid frame.
    """
    lengths = input_lengths.to(device or input_lengths.device, non_blocking=True)
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def masked_log_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Log-softmax over classes, in float32 at least, uniform on padded frames.

    Args:
        logits: (..., B, T, C) in any floating dtype; padded frames may hold anything, NaN too.
        mask: (B, T) bool, True for a valid frame.

    Returns:
        (..., B, T, C) log-probabilities, float64 for float64 logits and float32 otherwise. The gradient
        on padded frames is zero.
    """
    # Filling comes before the softmax: 0 * NaN is NaN, in the gradient too.
    return at_least_float32(logits).masked_fill(~mask[..., None], 0.0).log_softmax(-1)


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision becomes float32; float32 and float64 stay as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
