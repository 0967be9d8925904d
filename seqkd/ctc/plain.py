"""CTC alone on the CPU, with as little Python around the kernel as can be: for small problems that is most of the time.

The same kernels as :mod:`seqkd.ctc.fused`, called without dataclass, ctypes structure or torch operator: one buffer for
all that is kept, and the reduction done by the kernel.

Letters: B utterances, T frames, C classes, S labels of the longest target.
"""

from __future__ import annotations

import struct

import torch
from torch import Tensor

from seqkd.ctc import cpu
from seqkd.ctc.arguments import check_labels, check_lengths
from seqkd.ctc.fused import backward_of
from seqkd.ctc.transforms import tracing, transforming

_REDUCTIONS = {"none": 0, "sum": 1, "mean": 2, "batchmean": 3}
# ``struct Problem`` of interface.h: sizes, logits, teacher, targets and lengths, τ, settings, results, gradients, loss.
_LAYOUT = struct.Struct("@7q P4q P4q 3P d 11i 5P 4P P")
_NO_KERNELS = 1
_WIDE = frozenset((torch.float32, torch.float64, torch.bfloat16))


def fits(logits: Tensor) -> bool:
    """Whether logits (B, T, C) are for :func:`plain_ctc`: on the CPU, not empty, and nothing transforms the program."""
    return (
        logits.is_cpu
        and logits.dtype in _WIDE
        and logits.numel() > 0
        and not tracing()
        and cpu.library() is not None
        and _LAYOUT.size == cpu.problem_size()
    )


def plain_ctc(
    logits: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    *,
    blank: int,
    reduction: str,
    zero_infinity: bool,
    check: bool,
) -> Tensor | None:
    """CTC as :func:`seqkd.ctc.ctc_loss` defines it, of arguments from :func:`seqkd.ctc.arguments.shape_targets`.

    Args:
        logits: (B, T, C) for which :func:`fits` holds, of any strides.
        targets: (B, S).
        input_lengths: (B,).
        target_lengths: (B,).
        blank: class of the blank.
        reduction: "none", "sum", "mean" or "batchmean".
        zero_infinity: see there.
        check: whether a label that is none is an error.

    Returns:
        The loss; None where the kernels asked for are not here.

    Raises:
        ValueError: a length or label out of range.
    """
    arguments = (logits, targets, input_lengths, target_lengths, blank, _REDUCTIONS[reduction], zero_infinity, check)
    if torch.is_grad_enabled() and logits.requires_grad:
        return _Plain.apply(*arguments)
    return _forward(*arguments, False)[0]


def _forward(
    logits: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int,
    reduction: int,
    zero_infinity: bool,
    check: bool,
    gradient: bool,
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """The loss, what is kept of it, and a copy of targets and lengths where a gradient is wanted."""
    batch, frames, classes = logits.shape
    labels = targets.shape[1]
    for name, lengths, most, letter in (("input", input_lengths, frames, "T"), ("target", target_lengths, labels, "S")):
        values = lengths.tolist()
        if min(values) < 0 or max(values) > most:
            check_lengths(name, lengths, most, letter)
    kept = None
    if gradient:
        kept = torch.cat((targets.reshape(-1), input_lengths, target_lengths))
        where = kept.data_ptr()
        where = where, where + 8 * batch * labels, where + 8 * batch * (labels + 1)
    else:
        held = targets.contiguous(), input_lengths.contiguous(), target_lengths.contiguous()
        where = tuple(x.data_ptr() for x in held)
    slots = min(classes, labels + 1)
    real = torch.float64 if logits.dtype == torch.float64 else torch.float32
    buffer = torch.empty(batch * (2 + gradient * frames * (4 + slots)), dtype=real)
    loss = torch.empty((batch,) if reduction == 0 else (), dtype=real)
    status = _run(logits, buffer, where, labels, slots, blank, reduction, zero_infinity, loss, None, None, gradient)
    if status == cpu.BAD_LABEL and check:
        check_labels(targets, target_lengths, classes, blank)
    if status == _NO_KERNELS:
        return None, buffer, kept
    return loss, buffer, kept


def _run(
    logits: Tensor,
    buffer: Tensor,
    where: tuple[int, int, int],
    labels: int,
    slots: int,
    blank: int,
    reduction: int,
    zero_infinity: bool,
    loss: Tensor | None,
    loss_grad: Tensor | None,
    logits_grad: Tensor | None,
    gradient: bool,
) -> int:
    batch, frames, classes = logits.shape
    kept, size = buffer.data_ptr(), buffer.element_size()
    rows = kept + 2 * batch * size
    packed = _LAYOUT.pack(
        *(1, batch, frames, classes, labels, 0, slots),
        *(logits.data_ptr(), 0, *logits.stride()),
        *(0, 0, 0, 0, 0),  # no teacher
        *where,
        1.0,
        *(cpu.TYPES[logits.dtype], cpu.TYPES[logits.dtype], blank, 1),
        *(0, 0, 0, gradient, slots == classes, reduction, zero_infinity),
        *(kept, kept + batch * size, 0, rows, rows + 4 * batch * frames * size * gradient),
        *((0, 0, 0, 0) if loss_grad is None else (loss_grad.data_ptr(), 0, 0, logits_grad.data_ptr())),
        kept if loss is None else loss.data_ptr(),
    )
    status = cpu.library().seqkd_ctc_run(packed, loss is None, torch.get_num_threads())
    if status == cpu.OUT_OF_MEMORY:
        raise MemoryError(f"CTC of {batch} utterances of up to {frames} frames: out of memory")
    return status


class _Plain(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, targets, input_lengths, target_lengths, blank, reduction, zero_infinity, check):
        loss, buffer, ctx.kept = _forward(
            logits, targets, input_lengths, target_lengths, blank, reduction, zero_infinity, check, True
        )
        ctx.save_for_backward(logits, buffer)
        ctx.options = targets.shape[1], blank, reduction, zero_infinity
        return loss

    @staticmethod
    def backward(ctx, loss_grad):
        logits, buffer = ctx.saved_tensors
        labels, blank, reduction, zero_infinity = ctx.options
        batch, frames, classes = logits.shape
        slots = min(classes, labels + 1)
        if torch.is_grad_enabled() or transforming():
            return _by_operator(ctx, loss_grad), None, None, None, None, None, None, None
        gradient = torch.empty((batch, frames, classes), dtype=logits.dtype)
        where = ctx.kept.data_ptr()
        where = where, where + 8 * batch * labels, where + 8 * batch * (labels + 1)
        loss_grad = loss_grad.contiguous()
        _run(
            logits, buffer, where, labels, slots, blank, reduction, zero_infinity, None, loss_grad, gradient, True
        )
        return gradient, None, None, None, None, None, None, None


def _by_operator(ctx, loss_grad: Tensor) -> Tensor:
    """The gradient by the operator that torch can map, and that refuses a second derivative in a sentence."""
    logits, buffer = ctx.saved_tensors
    labels, blank, reduction, _ = ctx.options
    batch, frames, classes = logits.shape
    slots = min(classes, labels + 1)
    ctc, kd, rows, occupancy = buffer.split([batch, batch, 4 * batch * frames, batch * frames * slots])
    targets, lengths = ctx.kept.split([batch * labels, 2 * batch])
    lengths = lengths.view(2, batch)
    if reduction >= 2:
        loss_grad = loss_grad / batch
    ctc_grad = loss_grad.expand(batch)
    if reduction == 2:
        ctc_grad = ctc_grad / lengths[1].clamp(min=1)
    terms = (ctc[None], torch.zeros_like(kd)[None], torch.zeros_like(ctc), rows.view(4, batch, frames))
    zeros = torch.zeros_like(ctc)
    return backward_of(
        logits[None],
        (*terms, occupancy.view(1, batch, frames, slots), targets.view(batch, labels), lengths),
        (ctc_grad[None], zeros[None], zeros),
        blank,
    )[0]
