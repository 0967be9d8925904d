"""CTC with label priors: what a class has on average counts for nothing, so that the blank spreads less.

Letters: B utterances, T frames, C classes, S labels of the longest target.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqkd.ctc.arguments import CTC_REDUCTIONS, IntSequence, check_choice, check_logits, shape_targets
from seqkd.ctc.frames import at_least_float32, frame_mask, masked_log_softmax
from seqkd.ctc.loss import ctc_loss


def ctc_loss_with_priors(
    logits: Tensor,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    log_priors: Tensor,
    *,
    scale: float = 1.0,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
    backend: str = "auto",
) -> Tensor:
    """−log Σ over alignments π of Π_t p(π_t) / P(π_t)^α: CTC whose posteriors are divided by label priors.

    A model trained with it is less peaky: it aligns labels for as long as they last, as forced alignment needs. The sum
    is not normalised, so that the loss may be negative. Its gradient for the logits is softmax(z) − occupancy, as CTC's
    is, with the occupancy of the divided posteriors.

    Args:
        logits: (B, T, C).
        targets: as in :func:`seqkd.ctc.ctc_loss`, and so lengths, ``blank``, ``reduction``, ``zero_infinity`` and
            ``backend``.
        input_lengths: (B,).
        target_lengths: (B,).
        log_priors: (C,) log P, such as :func:`log_label_priors` of the last epoch; gets no gradient.
        scale: α; 0 is CTC.
        blank: class of the blank.
        reduction: "mean", "sum", "none" or "batchmean".
        zero_infinity: an utterance that cannot be aligned gives 0 instead of inf.
        backend: of CTC.

    Returns:
        A scalar, or (B,) for "none".

    Raises:
        ValueError: as :func:`seqkd.ctc.ctc_loss`; priors that are not (C,).

    Paper: Huang et al., "Less peaky and more accurate CTC forced alignment by label priors", ICASSP 2024, arXiv
    2406.02560. Established by its abstract: label priors boost the scores of alignment paths with fewer blanks, in
    training. Chosen, as its code was not followed: the formula above, not normalised over classes.
    """
    check_logits("logits", logits, "BTC")
    check_choice("reduction", reduction, CTC_REDUCTIONS)
    if log_priors.shape != logits.shape[-1:]:
        raise ValueError(f"log_priors must be ({logits.shape[-1]},), one a class, got {tuple(log_priors.shape)}")
    targets, frames, labels = shape_targets(logits, targets, input_lengths, target_lengths, blank=blank)
    mask = frame_mask(frames, logits.shape[1], logits.device)
    logits = at_least_float32(logits).masked_fill(~mask[..., None], 0.0)
    shifted = logits - scale * log_priors.detach().to(logits)
    losses = ctc_loss(
        shifted,
        targets,
        frames,
        labels,
        blank=blank,
        reduction="none",
        zero_infinity=False,
        backend=backend,
    )
    # What the kernel's own softmax divides by.
    norms = (shifted.logsumexp(-1) - logits.logsumexp(-1)).masked_fill(~mask, 0.0).sum(-1)
    impossible = losses.isposinf()
    losses = losses - norms.masked_fill(impossible, 0.0).to(losses)
    if zero_infinity:
        losses = losses.masked_fill(impossible, 0.0)
    if reduction == "none":
        return losses
    if reduction == "mean":
        losses = losses / labels.clamp(min=1).to(losses)
    return losses.sum() / (1 if reduction == "sum" else max(len(losses), 1))


@torch.no_grad()
def log_label_priors(logits: Tensor, input_lengths: Tensor) -> Tensor:
    """(C,) logarithm of the mean posterior over the valid frames of logits (B, T, C): average it over an epoch."""
    mask = frame_mask(input_lengths, logits.shape[1], logits.device)
    posteriors = masked_log_softmax(logits, mask).exp().masked_fill(~mask[..., None], 0.0)
    return (posteriors.sum((0, 1)) / mask.sum().clamp(min=1)).log()
