"""Forced alignment: which unit of the transcript each frame of a CTC model emits.

Letters: B utterances, T frames, S units, C classes.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor


@torch.no_grad()
def forced_alignment(
    logits: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    *,
    blank: int = 0,
    ignore: int = -100,
) -> Tensor:
    """The most probable path of each transcript, by torchaudio's ``forced_align``.

    Args:
        logits: (B, T, C).
        targets: (B, S), padded.
        input_lengths: (B,); every transcript must fit its frames.
        target_lengths: (B,); an utterance with 0 has no transcript and no path.
        blank: class of the blank.
        ignore: what stands in padding, and in all frames of an utterance without a path.

    Returns:
        (B, T) classes, on the device of ``logits``.
    """
    from torchaudio.functional import forced_align

    path = torch.full(logits.shape[:2], ignore, device=logits.device)
    log_probs = logits.float().log_softmax(-1)
    for row, (frames, units) in enumerate(zip(input_lengths.tolist(), target_lengths.tolist(), strict=True)):
        if units:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torchaudio announces that it may move this function
                labels, _ = forced_align(log_probs[row : row + 1, :frames], targets[row : row + 1, :units], blank=blank)
            path[row, :frames] = labels[0]
    return path
