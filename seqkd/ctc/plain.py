"""CTC alone on the CPU, with as little Python around the kernel as can be: for small problems that is most of the time.

The same kernels as :mod:`seqkd.ctc.fused`, called without dataclass, ctypes structure or torch operator: one buffer for
all that is kept, and the reduction done by the kernel.

Letters: B utterances, T frames, C classes, S labels of the longest target, U slots of the occupancy.
"""

from __future__ import annotations

import struct

import torch
from torch import Tensor

from seqkd.ctc import cpu
from seqkd.ctc.arguments import IntSequence, check_labels, check_lengths, shape_targets
from seqkd.ctc.fused import backward_of
from seqkd.ctc.transforms import batched_gradients, tracing, transforming

_REDUCTIONS = {"none": 0, "sum": 1, "mean": 2, "batchmean": 3}
# ``struct Problem`` of interface.h: sizes, logits, teacher, targets and lengths, τ, settings, results, gradients, loss.
_LAYOUT = struct.Struct("@7q P4q P4q 3P d 11i 5P 4P 2P")
_NO_KERNELS = 1
_TYPES = {kind: cpu.TYPES[kind] for kind in (torch.float32, torch.float64, torch.bfloat16)}


def fits(logits: Tensor) -> bool:
    """Whether logits (B, T, C) are for :func:`plain_ctc`: on the CPU, not empty, and nothing transforms the program."""
    return (
        logits.is_cpu
        and logits.dtype in _TYPES
        and logits.numel() > 0
        and not tracing()
        and cpu.library() is not None
        and _LAYOUT.size == cpu.problem_size()
    )


def plain_ctc(
    logits: Tensor,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    blank: int,
    reduction: str,
    zero_infinity: bool,
    check: bool,
) -> Tensor | None:
    """CTC as :func:`seqkd.ctc.ctc_loss` defines it, and its arguments.

    Args:
        logits: (B, T, C) for which :func:`fits` holds, of any strides.
        targets: as there, and so those that follow.
        input_lengths: (B,).
        target_lengths: (B,).
        blank: class of the blank.
        reduction: "none", "sum", "mean" or "batchmean".
        zero_infinity: whether inf becomes 0.
        check: whether a label that is none is an error.

    Returns:
        The loss; None where targets or lengths are on a GPU, or the kernels asked for are not here.

    Raises:
        ValueError: shapes that disagree, a length or label out of range.
    """
    batch, _, classes = logits.shape
    if not (
        isinstance(targets, Tensor)
        and isinstance(input_lengths, Tensor)
        and isinstance(target_lengths, Tensor)
        and targets.dtype is input_lengths.dtype is target_lengths.dtype is torch.int64
        and targets.dim() == 2
        and input_lengths.dim() == target_lengths.dim() == 1
        and len(targets) == len(input_lengths) == len(target_lengths) == batch
        and targets.shape[1] > 0
        and 0 <= blank < classes
    ):
        lengths = (input_lengths, target_lengths)
        targets, input_lengths, target_lengths = shape_targets(logits, targets, *lengths, blank=blank)
    if not (targets.is_cpu and input_lengths.is_cpu and target_lengths.is_cpu):
        return None
    arguments = (logits, targets, input_lengths, target_lengths, blank, _REDUCTIONS[reduction], zero_infinity, check)
    if torch.is_grad_enabled() and logits.requires_grad:
        return _Plain.apply(*arguments)
    return _forward(*arguments, None)


def _kept(logits: Tensor, labels: int) -> Tensor:
    """Room for a copy of targets and lengths, and what the gradient needs: CTC (B,), rows (4, B, T), occupancy."""
    batch, frames, classes = logits.shape
    numbers = batch * (1 + frames * (4 + min(classes, labels + 1)))
    size = 8 if logits.dtype is torch.float64 else 4
    return torch.empty(batch * (labels + 2) + (numbers * size + 7) // 8, dtype=torch.int64)


def _forward(
    logits: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int,
    reduction: int,
    zero_infinity: bool,
    check: bool,
    kept: Tensor | None,
) -> Tensor | None:
    """The loss; what the gradient needs goes into ``kept``, if it is wanted."""
    batch, frames, classes = logits.shape
    labels = targets.shape[1]
    values = input_lengths.tolist()
    if min(values) < 0 or max(values) > frames:
        check_lengths("input", input_lengths, frames, "T")
    values = target_lengths.tolist()
    if min(values) < 0 or max(values) > labels:
        check_lengths("target", target_lengths, labels, "S")
    targets, input_lengths, target_lengths = (
        targets.contiguous(),
        input_lengths.contiguous(),
        target_lengths.contiguous(),
    )
    real = torch.float64 if logits.dtype is torch.float64 else torch.float32
    loss = torch.empty(() if reduction else (batch,), dtype=real)
    where = (targets.data_ptr(), input_lengths.data_ptr(), target_lengths.data_ptr())
    status = _run(logits, kept, where, labels, blank, reduction, zero_infinity, loss, None, None)
    if status == cpu.BAD_LABEL and check:
        check_labels(targets, target_lengths, classes, blank)
    return None if status == _NO_KERNELS else loss


def _run(
    logits: Tensor,
    kept: Tensor | None,
    where: tuple[int, int, int] | None,
    labels: int,
    blank: int,
    reduction: int,
    zero_infinity: bool,
    loss: Tensor | None,
    loss_grad: Tensor | None,
    logits_grad: Tensor | None,
) -> int:
    """Forwards, or backwards where there is no ``loss``; ``where`` are targets and lengths, by default the copies."""
    batch, frames, classes = logits.shape
    slots = min(classes, labels + 1)
    size = 8 if logits.dtype is torch.float64 else 4
    copies = ctc = rows = occupancy = 0
    if kept is not None:
        copies = kept.data_ptr()
        ctc = copies + 8 * batch * (labels + 2)
        rows = ctc + batch * size
        occupancy = rows + 4 * batch * frames * size
    if where is None:
        where = (copies, copies + 8 * batch * labels, copies + 8 * batch * (labels + 1))
    kind = _TYPES[logits.dtype]
    packed = _LAYOUT.pack(
        *(1, batch, frames, classes, labels, 0, slots),
        *(logits.data_ptr(), 0, *logits.stride()),
        *(0, 0, 0, 0, 0),  # no teacher
        *where,
        1.0,
        *(kind, kind, blank, 1, 0, 0, 0, kept is not None, slots == classes, reduction, zero_infinity),
        *(ctc, 0, 0, rows, occupancy),
        *((0, 0, 0, 0) if loss is not None else (loss_grad.data_ptr(), 0, 0, logits_grad.data_ptr())),
        *(ctc if loss is None else loss.data_ptr(), copies),
    )
    status = cpu.library().seqkd_ctc_run(packed, loss is None, torch.get_num_threads())
    if status == cpu.OUT_OF_MEMORY:
        raise MemoryError(f"CTC of {batch} utterances of up to {frames} frames: out of memory")
    return status


class _Plain(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, targets, input_lengths, target_lengths, blank, reduction, zero_infinity, check):
        kept = _kept(logits, targets.shape[1])
        ctx.save_for_backward(logits, kept)
        ctx.options = targets.shape[1], blank, reduction, zero_infinity
        return _forward(logits, targets, input_lengths, target_lengths, blank, reduction, zero_infinity, check, kept)

    @staticmethod
    def backward(ctx, loss_grad):
        logits, kept = ctx.saved_tensors
        if torch.is_grad_enabled() or transforming() or batched_gradients(loss_grad):
            gradient = _by_operator(logits, kept, loss_grad, *ctx.options[:3])
        else:
            gradient = torch.empty(logits.shape, dtype=logits.dtype)
            _run(logits, kept, None, *ctx.options, None, loss_grad.contiguous(), gradient)
        return gradient, None, None, None, None, None, None, None


def _by_operator(logits: Tensor, kept: Tensor, loss_grad: Tensor, labels: int, blank: int, reduction: int) -> Tensor:
    """The gradient by the operator that torch can map, and that refuses a second derivative in a sentence."""
    batch, frames, classes = logits.shape
    slots = min(classes, labels + 1)
    targets, lengths, numbers = kept.split([batch * labels, 2 * batch, len(kept) - batch * (labels + 2)])
    numbers = numbers.view(torch.float64 if logits.dtype is torch.float64 else torch.float32)
    ctc, rows, occupancy = numbers[: batch * (1 + frames * (4 + slots))].split(
        [batch, 4 * batch * frames, batch * frames * slots]
    )
    lengths = lengths.view(2, batch)
    if reduction >= 2:
        loss_grad = loss_grad / batch
    ctc_grad = loss_grad.expand(batch)
    if reduction == 2:
        ctc_grad = ctc_grad / lengths[1].clamp(min=1)
    zeros = torch.zeros_like(ctc)
    terms = (ctc[None], zeros[None], zeros, rows.view(4, batch, frames), occupancy.view(1, batch, frames, slots))
    terms = (*terms, targets.view(batch, labels), lengths)
    return backward_of(logits[None], terms, (ctc_grad[None], zeros[None], zeros), blank)[0]
