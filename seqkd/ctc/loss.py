"""The CTC loss on logits.

Letters: B utterances, T frames, C classes, S labels of the longest target.
"""

import torch
from torch import Tensor

from seqkd.ctc.arguments import (
    REDUCTIONS,
    IntSequence,
    bad_targets,
    check_choice,
    check_logits,
    check_targets,
    shape_targets,
)
from seqkd.ctc.frames import frame_mask, masked_log_softmax
from seqkd.ctc.fused import BACKENDS, choose_backend, fused_losses
from seqkd.ctc.reference import reference_nll


def ctc_loss(
    logits: Tensor,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    *,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
    backend: str = "auto",
    validate: bool | None = None,
) -> Tensor:
    """Connectionist temporal classification: minus the log-likelihood of each target, in nats.

    Differs from ``torch.nn.functional.ctc_loss`` in that it takes **logits**, batch first, and applies the
    log-softmax itself (in float32 at least; float64 stays float64), that padded frames never matter whatever
    they hold, and that bad arguments raise a sentence instead of ending the process.

    Args:
        logits: (B, T, C) unnormalised scores, any floating dtype.
        targets: (B, S) padded with anything, or 1-D with all targets joined. int32 or int64, tensor or list.
        input_lengths: (B,) valid frames, at most T. On the CPU they cost no GPU synchronisation.
        target_lengths: (B,) labels of each target.
        blank: class of the blank.
        reduction: "none" gives (B,); "sum" adds utterances up; "mean", as torch defines it for CTC, divides
            each loss by its target length (at least 1), then averages over utterances. (The distillation
            losses divide by the number of utterances only.)
        zero_infinity: a target that cannot be aligned (too few frames) gives 0 and no gradient instead
            of inf. With inf, torch's op gives that utterance a NaN gradient; all other backends a zero one.
        backend: "cpu" and "cuda" are our kernels, which read the logits where they are; "torch" is torch's op
            on a log-softmax; "reference" is a float64 dynamic programme that reads like the textbook
            (:func:`seqkd.ctc.reference.reference_nll`); "auto" is the kernel for the logits' device where there
            is one (``seqkd doctor`` says), else torch's op.
        validate: None (default) checks whatever is on the host, True checks targets on the GPU too (one
            synchronisation), False does not check labels. A bad label that is not checked makes its
            utterance's loss NaN.

    Returns:
        A scalar, or (B,) for reduction "none"; float64 for float64 logits and for backend "reference", else
        float32.

    Raises:
        ValueError: wrong shapes, a length beyond T or S, a target that is out of range or the blank (the
            utterance and the value are named), an unknown reduction or backend, a backend that is not
            available here (with how to get it).

    Paper: Graves et al., "Connectionist temporal classification", ICML 2006, 10.1145/1143844.1143891.
    """
    check_choice("reduction", reduction, REDUCTIONS)
    check_choice("backend", backend, BACKENDS)
    check_logits("logits", logits, "BTC")
    backend = choose_backend(backend, logits)
    if backend in ("torch", "reference"):
        targets, input_lengths, target_lengths = check_targets(
            logits, targets, input_lengths, target_lengths, blank=blank, validate=validate
        )
        mask = frame_mask(input_lengths, logits.shape[1], logits.device)
        log_probs = masked_log_softmax(logits.double() if backend == "reference" else logits, mask)
        losses = _ctc_from_log_probs(log_probs, targets, input_lengths, target_lengths, blank, zero_infinity, backend)
    else:
        targets, input_lengths, target_lengths = shape_targets(
            logits, targets, input_lengths, target_lengths, blank=blank
        )
        losses = fused_losses(
            logits[None], None, targets, input_lengths, target_lengths, blank=blank, validate=validate
        ).ctc[0]
        losses = finite_only(losses) if zero_infinity else losses
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    return (losses / target_lengths.clamp(min=1).to(losses)).sum() / max(len(losses), 1)


def ctc_from_log_probs(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    *,
    blank: int,
    zero_infinity: bool,
    backend: str = "auto",
) -> Tensor:
    """CTC on log-probabilities that the caller has normalised, so that several terms share one log-softmax.

    Args:
        log_probs: (B, T, C) from :func:`seqkd.ctc.frames.masked_log_softmax`. The gradient is right only
            through a log-softmax: it is that for the logits, whose classes' sum is 0 and which the log-softmax
            therefore hands on unchanged.
        targets: (B, S) as :func:`seqkd.ctc.arguments.check_targets` gives them.
        input_lengths: (B,) on the host.
        target_lengths: (B,) on the host.
        blank: class of the blank.
        zero_infinity: as in :func:`ctc_loss`.
        backend: as in :func:`ctc_loss`.

    Returns:
        (B,) in the dtype of ``log_probs`` (float64 from the reference).
    """
    backend = choose_backend(backend, log_probs)
    if backend in ("torch", "reference"):
        return _ctc_from_log_probs(log_probs, targets, input_lengths, target_lengths, blank, zero_infinity, backend)
    losses = fused_losses(
        log_probs[None], None, targets, input_lengths, target_lengths, blank=blank, validate=False
    ).ctc[0]
    return finite_only(losses) if zero_infinity else losses


def finite_only(losses: Tensor) -> Tensor:
    """Losses with 0, and no gradient, where they are inf."""
    return losses.masked_fill(losses.isposinf(), 0.0)


def _ctc_from_log_probs(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int,
    zero_infinity: bool,
    backend: str,
) -> Tensor:
    bad = bad_targets(targets, target_lengths, log_probs.shape[2], blank)
    targets = targets.clamp(0, log_probs.shape[2] - 1)
    # torch's op refuses empty batches.
    if backend == "reference" or log_probs.numel() == 0:
        losses = reference_nll(log_probs, targets, input_lengths, target_lengths, blank)
        losses = finite_only(losses) if zero_infinity else losses
    else:
        losses = torch.ctc_loss(
            log_probs.transpose(0, 1), targets, input_lengths, target_lengths, blank, 0, zero_infinity
        )
    # A factor, so that the gradient is NaN too.
    return losses * torch.where(bad, torch.nan, 1.0).to(losses)
