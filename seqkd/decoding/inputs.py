"""What every decoder asks of its input."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqkd.errors import ConfigError, DataError


def penalised(logits: Tensor, blank: int, penalty: float) -> Tensor:
    """Logits (..., C) with ``penalty`` subtracted from that of the blank, so that fewer units are left out.

    A model that is trained to agree with itself is surer of blanks than it should be: to emit nothing is the cheapest
    agreement. A penalty of about 1 gives deletions and insertions their balance again.

    Raises:
        ConfigError: the penalty is not finite.
    """
    if penalty == 0:
        return logits
    if not math.isfinite(penalty):
        raise ConfigError(f"blank_penalty is {penalty}; expected a finite number")
    shifted = logits.clone()
    shifted[..., blank] -= penalty
    return shifted


def check_logits(logits: Tensor, input_lengths: Tensor, blank: int) -> list[int]:
    """Check a batch of logits and return its lengths.

    Args:
        logits: (B, T, C), unnormalised or log-probabilities.
        input_lengths: (B,), valid frames of each utterance, 0 to T.
        blank: index of the blank, 0 to C - 1.

    Returns:
        The lengths as B integers.

    Raises:
        ConfigError: the shapes, a length or the blank do not fit together.
        DataError: the best class of a valid frame is NaN or infinite, which would decode to silent nonsense.
    """
    if logits.dim() != 3:
        raise ConfigError(f"logits must have shape (B, T, C), but have {tuple(logits.shape)}.")
    batch, frames, classes = logits.shape
    if input_lengths.shape != (batch,):
        raise ConfigError(f"input_lengths must have shape ({batch},), but has {tuple(input_lengths.shape)}.")
    if not 0 <= blank < classes:
        raise ConfigError(f"blank is {blank}, but the logits have classes 0 to {classes - 1}.")
    lengths = [int(length) for length in input_lengths.tolist()]
    for index, length in enumerate(lengths):
        if not 0 <= length <= frames:
            raise ConfigError(f"input_lengths[{index}] is {length}, but the logits have {frames} frames.")
        if not torch.isfinite(logits[index, :length].amax(dim=-1)).all():
            raise DataError(f"The logits of utterance {index} of the batch contain NaN or infinities.")
    return lengths
