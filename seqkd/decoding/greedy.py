"""Greedy (best path) CTC decoding."""

from __future__ import annotations

import torch
from torch import Tensor

from seqkd.decoding.inputs import check_logits, penalised


@torch.no_grad()
def greedy_decode(
    logits: Tensor, input_lengths: Tensor, *, blank: int = 0, blank_penalty: float = 0.0
) -> list[list[int]]:
    """Take the best class of every frame, merge repeats, remove blanks (Graves et al. 2006, section 3.2).

    Args:
        logits: (B, T, C), any monotone form of the class scores; any dtype and device.
        input_lengths: (B,), valid frames; what lies beyond them is ignored.
        blank: index of the blank.
        blank_penalty: subtracted from the blank's logit; 0 (default) for none.

    Returns:
        B token sequences, without blanks.

    Raises:
        ConfigError: shapes, lengths or blank do not fit together, or the penalty is not finite.
        DataError: a valid frame holds NaN or no finite best class.
    """
    lengths = check_logits(logits, input_lengths, blank)
    paths = penalised(logits, blank, blank_penalty).argmax(dim=-1).cpu()  # (B, T)
    decoded = []
    for path, length in zip(paths, lengths, strict=True):
        merged = torch.unique_consecutive(path[:length])
        decoded.append(merged[merged != blank].tolist())
    return decoded
