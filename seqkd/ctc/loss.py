"""The CTC loss on logits.

Letters: B utterances, T frames, C classes, S labels of the longest target.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqkd.ctc import plain
from seqkd.ctc.arguments import (
    CTC_REDUCTIONS,
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
    they hold, and that bad arguments raise a sentence instead of ending the process. Log-probabilities do no harm:
    the log-softmax of a log-softmax is itself. :class:`seqkd.ctc.CTCLoss` is the module with torch's arguments.

    Lengths and targets are copied: the gradient is that of the values that the forward saw, whatever becomes of them.
    ``torch.func`` (``grad``, ``vmap``, ``jacrev``, ``vmap(grad)`` for gradients by sample), ``is_grads_batched``,
    ``torch.compile(fullgraph=True)`` and ``torch.export`` work on every backend.

    Args:
        logits: (B, T, C) unnormalised scores, any floating dtype and strides; or (T, C) of one utterance, with one
            target and one length each.
        targets: (B, S) padded with anything, 1-D with all targets joined, or B lists or tensors of several lengths.
            int32 or int64, tensor or list.
        input_lengths: (B,) valid frames, at most T. On the CPU they cost no GPU synchronisation.
        target_lengths: (B,) labels of each target.
        blank: class of the blank.
        reduction: "none" gives (B,); "sum" adds utterances up; "batchmean" divides that by B, as the distillation
            losses' "mean" does; "mean", as torch defines it for CTC, divides each loss by its target length (at least
            1), then averages over utterances. ``docs/ctc.md`` compares them with other toolkits'.
        zero_infinity: a target that cannot be aligned (too few frames) gives 0 instead of inf. Its gradient is zero
            either way.
        backend: "cpu" and "cuda" are our kernels, which read the logits where they are; "torch" is torch's op
            on a log-softmax, with finite gradients where its own are NaN; "reference" is a float64 dynamic programme
            that reads like the textbook (:func:`seqkd.ctc.reference.reference_nll`); "auto" is the kernel for the
            logits' device where there is one (``seqkd doctor`` says), else torch's op. Logits on another device, such
            as Apple's MPS, are copied to the CPU's kernel (untried: no such machine was at hand).
        validate: None (default) checks whatever is on the host, True checks targets on the GPU too (one
            synchronisation), False does not check labels. A bad label that is not checked makes its
            utterance's loss NaN.

    Returns:
        A scalar, or (B,) for reduction "none" and a batch; never negative; float64 for float64 logits and for backend
        "reference", else float32.

    Raises:
        ValueError: wrong shapes, a length beyond T or S, a target that is out of range or the blank (the
            utterance and the value are named), an unknown reduction or backend, a backend that is not
            available here (with how to get it).

    Paper: Graves et al., "Connectionist temporal classification", ICML 2006, 10.1145/1143844.1143891.
    """
    if reduction not in CTC_REDUCTIONS or backend not in BACKENDS:
        check_choice("reduction", reduction, CTC_REDUCTIONS)
        check_choice("backend", backend, BACKENDS)
    if logits.dim() == 2:
        return _of_one(
            logits, targets, input_lengths, target_lengths, blank, reduction, zero_infinity, backend, validate
        )
    check_logits("logits", logits, "BTC")
    if backend in ("auto", "cpu") and plain.fits(logits):
        losses = plain.plain_ctc(
            logits, targets, input_lengths, target_lengths, blank, reduction, zero_infinity, validate is not False
        )
        if losses is not None:
            return losses
    backend = choose_backend(backend, logits)
    if backend == "reference":
        targets, input_lengths, target_lengths = check_targets(
            logits, targets, input_lengths, target_lengths, blank=blank, validate=validate
        )
        mask = frame_mask(input_lengths, logits.shape[1], logits.device)
        log_probs = masked_log_softmax(logits.double(), mask)
        losses = _by_reference(log_probs, targets, input_lengths, target_lengths, blank)
    else:
        targets, input_lengths, target_lengths = shape_targets(
            logits, targets, input_lengths, target_lengths, blank=blank
        )
        if backend == "torch":
            logits = masked_log_softmax(logits, frame_mask(input_lengths, logits.shape[1], logits.device))
        losses = fused_losses(
            logits.unsqueeze(0),
            None,
            targets,
            input_lengths,
            target_lengths,
            blank=blank,
            validate=validate,
            by_torch=backend == "torch",
        ).ctc[0]
    losses = finite_only(losses) if zero_infinity else losses
    if reduction == "none":
        return losses
    if reduction == "mean":
        losses = losses / target_lengths.clamp(min=1).to(losses)
    return losses.sum() / (1 if reduction == "sum" else max(len(losses), 1))


def _of_one(
    logits, targets, input_lengths, target_lengths, blank, reduction, zero_infinity, backend, validate
) -> Tensor:
    """CTC of logits (T, C), a target (S,) and its lengths: a scalar."""
    lengths = []
    for name, given in (("input_lengths", input_lengths), ("target_lengths", target_lengths)):
        length = torch.as_tensor(given)
        if length.numel() != 1:
            raise ValueError(
                f"logits {tuple(logits.shape)} are (T, C), of one utterance, but {name} has {length.numel()} entries; "
                "expected one, or logits (B, T, C)"
            )
        lengths.append(length.reshape(1))
    targets = torch.as_tensor(targets)
    if targets.dim() == 1:
        targets = targets.unsqueeze(0)
    losses = ctc_loss(
        logits.unsqueeze(0),
        targets,
        *lengths,
        blank=blank,
        reduction=reduction,
        zero_infinity=zero_infinity,
        backend=backend,
        validate=validate,
    )
    return losses[0] if reduction == "none" else losses


def ctc_from_log_probs(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    *,
    blank: int,
    zero_infinity: bool,
    backend: str = "auto",
    validate: bool | None = False,
) -> Tensor:
    """CTC on log-probabilities that the caller has normalised, so that several terms share one log-softmax.

    Args:
        log_probs: (P, B, T, C) from :func:`seqkd.ctc.frames.masked_log_softmax`. The gradient is right only
            through a log-softmax: it is that for the logits, whose classes' sum is 0 and which the log-softmax
            therefore hands on unchanged.
        targets: (B, S) as :func:`seqkd.ctc.arguments.shape_targets` gives them.
        input_lengths: (B,).
        target_lengths: (B,).
        blank: class of the blank.
        zero_infinity: as in :func:`ctc_loss`.
        backend: as in :func:`ctc_loss`.
        validate: as in :func:`ctc_loss`.

    Returns:
        (P, B) in the dtype of ``log_probs`` (float64 from the reference).
    """
    backend = choose_backend(backend, log_probs)
    if backend == "reference":
        targets, input_lengths, target_lengths = check_targets(
            log_probs, targets, input_lengths, target_lengths, blank=blank, validate=validate
        )
        losses = torch.stack([_by_reference(p, targets, input_lengths, target_lengths, blank) for p in log_probs])
    else:
        options = {"blank": blank, "validate": validate, "by_torch": backend == "torch"}
        losses = fused_losses(log_probs, None, targets, input_lengths, target_lengths, **options).ctc
    return finite_only(losses) if zero_infinity else losses


def finite_only(losses: Tensor) -> Tensor:
    """Losses with 0, and no gradient, where they are inf."""
    return losses.masked_fill(losses.isposinf(), 0.0)


def _by_reference(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int
) -> Tensor:
    bad = bad_targets(targets, target_lengths, log_probs.shape[2], blank)
    targets = targets.clamp(0, max(log_probs.shape[2] - 1, 0))
    losses = reference_nll(log_probs, targets, input_lengths, target_lengths, blank)
    # A factor, so that the gradient is NaN too.
    return losses * torch.where(bad, torch.nan, 1.0).to(losses)
