"""CTC, distillation and consistency as one differentiable operator, on whichever backend the logits have.

Three ways lead to the same kernels: an operator registered with torch, which ``torch.compile(fullgraph=True)`` and
``torch.export`` see as one node; a function that ``torch.func`` can map and differentiate; and, where nothing
transforms the program, the one that costs the least time. Lengths and targets are copied: the gradient is that of the
values the forward saw, whatever their owner does with them meanwhile.

Letters: P passes, B utterances, T frames, C classes, S labels of the longest target, Q teachers (1 or P), V of what is
mapped.
"""

import warnings
from functools import cache
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from seqkd.ctc import composed, cpu
from seqkd.ctc.arguments import check_labels, check_lengths
from seqkd.ctc.problem import Problem, Terms
from seqkd.ctc.transforms import batched_gradients, ordinary, transforming

BACKENDS = ("auto", "cpu", "cuda", "torch", "reference")


class Losses(NamedTuple):
    """Terms by pass and utterance: ctc (P, B), kd (P, B), consistency (B,). Those not asked for are 0."""

    ctc: Tensor
    kd: Tensor
    consistency: Tensor


def choose_backend(backend: str, logits: Tensor) -> str:
    """What ``backend`` means for these logits: "cpu", "cuda", "torch" or "reference".

    Logits on another device than these two, such as Apple's, are for the CPU's kernels, which get a copy.

    Raises:
        ValueError: a backend that is not available here, with how to get it, or that cannot take these logits.
    """
    if backend in ("torch", "reference"):
        return backend
    device = logits.device.type
    if device not in ("cpu", "cuda"):
        device = "cpu"
    if backend not in ("auto", device):
        raise ValueError(f'backend "{backend}" was asked for, but the logits are on the device "{logits.device.type}"')
    if device == "cuda" and logits.dtype == torch.float64:
        here, why = False, 'the CUDA kernels compute in float32: convert the logits, or use backend="torch"'
    else:
        here, why = _available(device)
    if not here and backend != "auto":
        raise ValueError(f'backend "{backend}" is not available: {why}')
    if not here:
        _warn_of_fallback(why)
    return device if here else "torch"


def fused_losses(
    logits: Tensor,
    teacher: Tensor | None,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    *,
    blank: int,
    ctc: bool = True,
    distance: str = "none",
    temperature: float = 1.0,
    nonblank: bool = False,
    consistency: str = "none",
    validate: bool | None = None,
    by_torch: bool = False,
) -> Losses:
    """The terms of :class:`seqkd.ctc.problem.Problem`, which says what each argument means.

    Args:
        logits: (P, B, T, C). On a device that is neither a CPU nor an NVIDIA GPU, they are copied to the host.
        teacher: (Q, B, T, C) or None; gets no gradient.
        targets: (B, S).
        input_lengths: (B,).
        target_lengths: (B,).
        blank: class of the blank.
        ctc: whether CTC is wanted.
        distance: of the distillation term, or "none".
        temperature: of the distillation term.
        nonblank: distil frames whose teacher argmax is not blank.
        consistency: "none", "attached" or "detached".
        validate: as in :func:`seqkd.ctc.ctc_loss`.
        by_torch: CTC alone, of log-probabilities, by torch's own operator.

    Raises:
        ValueError: a length or label that is out of range, naming the utterance and the value.
    """
    device = logits.device
    if device.type not in ("cpu", "cuda") and not by_torch:
        logits, teacher, targets = (None if x is None else x.cpu() for x in (logits, teacher, targets))
    # Once, not in both directions: from the GPU, it waits.
    input_lengths, target_lengths = input_lengths.cpu(), target_lengths.cpu()
    # A mapped tensor does not know whether what it stands for needs a gradient.
    gradient = torch.is_grad_enabled() and logits.requires_grad
    checks = 1 if validate is None else 2 * validate
    inputs = (logits, teacher, targets, input_lengths, target_lengths)
    options = (blank, ctc, distance, temperature, nonblank, consistency)
    if torch.compiler.is_compiling():
        found = _forward(*inputs, *options, gradient, checks, by_torch)
    elif transforming():
        found = _Mapped.apply(*map(ordinary, inputs), *options, True, checks, by_torch)
    elif gradient:
        found = _Eager.apply(*inputs, *options, gradient, checks, by_torch)
    else:
        found = _forward_eager(*inputs, *options, gradient, checks, by_torch)
    losses = Losses(*found[:3])
    return losses if logits.device == device else Losses(*(x.to(device) for x in losses))


@cache
def _warn_of_fallback(why: str) -> None:
    warnings.warn(f"CTC falls back on torch's operator, which is slower and less exact: {why}", stacklevel=5)


def _available(device: str) -> tuple[bool, str]:
    return _backend(device, False).available()


# What torch.compiler.assume_constant_result does, without its import of the whole compiler.
_available._dynamo_marked_constant = True


def _backend(device: str, by_torch: bool) -> ModuleType:
    if by_torch:
        return composed
    if device != "cuda":
        return cpu
    from seqkd.ctc import cuda

    return cuda


def _forward_eager(
    logits: Tensor,
    teacher: Tensor | None,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int,
    ctc: bool,
    distance: str,
    temperature: float,
    nonblank: bool,
    consistency: str,
    gradient: bool,
    checks: int,
    by_torch: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The terms, and copies of the targets (B, S) and of both lengths (2, B)."""
    # Values are looked at in here, where a compiled graph does not trace.
    check_lengths("input", input_lengths, logits.shape[2], "T")
    check_lengths("target", target_lengths, targets.shape[1], "S")
    on_host = targets.device.type == "cpu"
    if checks == 2 or (checks == 1 and on_host and logits.device.type != "cpu"):
        check_labels(targets, target_lengths, logits.shape[3], blank)
    options = (blank, ctc, distance, temperature, nonblank, consistency, gradient)
    targets = targets.to(logits.device, non_blocking=True, copy=True)
    lengths = torch.stack((input_lengths, target_lengths))
    problem = Problem(logits, teacher, targets, *lengths, *options, checks == 1, by_torch)
    return *_backend(logits.device.type, by_torch).forward(problem), targets, lengths


_forward = torch.library.custom_op("seqkd::ctc_terms", _forward_eager, mutates_args=())


@_forward.register_fake
def _(logits, teacher, targets, input_lengths, target_lengths, *options):
    kept = torch.empty_like(targets, device=logits.device)
    lengths = torch.stack((input_lengths, target_lengths))
    problem = Problem(logits, teacher, kept, *lengths, *options[:7], False, options[8])
    return *problem.empty_terms(), kept, lengths


def _backward_eager(
    logits: Tensor,
    teacher: Tensor | None,
    ctc: Tensor,
    kd: Tensor,
    consistency: Tensor,
    rows: Tensor,
    occupancy: Tensor,
    targets: Tensor,
    lengths: Tensor,
    ctc_grad: Tensor,
    kd_grad: Tensor,
    consistency_grad: Tensor,
    blank: int,
    with_ctc: bool,
    distance: str,
    temperature: float,
    nonblank: bool,
    compare: str,
    by_torch: bool,
) -> Tensor:
    options = (blank, with_ctc, distance, temperature, nonblank, compare, True, False, by_torch)
    problem = Problem(logits, teacher, targets, *lengths, *options)
    terms, grads = Terms(ctc, kd, consistency, rows, occupancy), (ctc_grad, kd_grad, consistency_grad)
    return _backend(logits.device.type, by_torch).backward(problem, terms, *grads)


_backward = torch.library.custom_op("seqkd::ctc_terms_backward", _backward_eager, mutates_args=())


@_backward.register_fake
def _(logits, *_):
    return torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)


def _keep(ctx, inputs, output) -> None:
    logits, teacher, *_, blank, ctc, distance, temperature, nonblank, consistency, _, _, by_torch = inputs
    # What was made in inference mode cannot be saved, and cannot be changed outside of it either.
    ctx.teacher = teacher if teacher is not None and teacher.is_inference() else None
    ctx.save_for_backward(logits, None if ctx.teacher is not None else teacher, *output)
    ctx.options = (blank, ctc, distance, temperature, nonblank, consistency, by_torch)


def _differentiate(ctx, *grads, backward=None):
    logits, teacher, *terms = ctx.saved_tensors
    teacher = teacher if ctx.teacher is None else ctx.teacher
    grads = [torch.zeros_like(term) if g is None else g for g, term in zip(grads[:3], terms, strict=False)]
    return (backward or _backward)(logits, teacher, *terms, *grads, *ctx.options), *[None] * 13


def _twice(ctx, *_):
    raise RuntimeError('the native CTC backends have no second derivative; backend="reference" has (float64, slow)')


_forward.register_autograd(_differentiate, setup_context=_keep)
_backward.register_autograd(_twice)


class _Eager(torch.autograd.Function):
    """The same operator without torch's dispatcher for custom ones, whose 0.2 ms are a tenth of a small step."""

    @staticmethod
    def forward(ctx, *inputs):
        output = _forward_eager(*inputs)
        ctx.mark_non_differentiable(*output[3:])
        _keep(ctx, inputs, output)
        return output

    @staticmethod
    def backward(ctx, *grads):
        backward = _MappedBackward.apply if torch.is_grad_enabled() or transforming() else _backward_eager
        return _differentiate(ctx, *grads, backward=_backward if batched_gradients(*grads) else backward)


class _Mapped(torch.autograd.Function):
    """The same for ``torch.func``: what is mapped becomes more utterances of one batch."""

    @staticmethod
    def forward(*inputs):
        return _forward_eager(*inputs)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.mark_non_differentiable(*output[3:])
        _keep(ctx, inputs, output)

    @staticmethod
    def backward(ctx, *grads):
        return _differentiate(ctx, *grads, backward=_MappedBackward.apply)

    @staticmethod
    def vmap(info, in_dims, *inputs):
        """Fold, compute, unfold."""
        return _unfolded(info, _Mapped.apply(*_folded(info, in_dims, inputs, _WHERE)))


class _MappedBackward(torch.autograd.Function):
    """The gradient, for ``torch.func``."""

    @staticmethod
    def forward(*inputs):
        return _backward_eager(*inputs)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    backward = staticmethod(_twice)

    @staticmethod
    def vmap(info, in_dims, *inputs):
        """Fold; or, where only the gradients are many, one after the other, without a copy of the logits."""
        if any(dim is not None for dim in in_dims[:9]):
            found = _MappedBackward.apply(*_folded(info, in_dims, inputs, _WHERE_BACKWARD))
            return found.unflatten(1, (info.batch_size, -1)), 1
        each = [
            _MappedBackward.apply(*(x if d is None else x.select(d, i) for x, d in zip(inputs, in_dims, strict=True)))
            for i in range(info.batch_size)
        ]
        return torch.stack(each), 0


def backward_of(logits: Tensor, terms: tuple[Tensor, ...], grads: tuple[Tensor, Tensor, Tensor], blank: int) -> Tensor:
    """The gradient of CTC alone for logits (1, B, T, C), of what :func:`_forward_eager` gave; torch can map it."""
    backward = _backward if batched_gradients(*grads) else _MappedBackward.apply
    return backward(logits, None, *terms, *grads, blank, True, "none", 1.0, False, "none", False)


# Which dimension of each tensor the utterances are.
_WHERE_TERMS = (1, 1, 0, 1, 1, 0, 1)  # ctc, kd, consistency, rows, occupancy, targets, lengths
_WHERE = (1, 1, 0, 0, 0)  # logits, teacher, targets, lengths
_WHERE_BACKWARD = (1, 1, *_WHERE_TERMS, 1, 1, 0)


def _folded(info, in_dims, inputs, where):
    """(V, B) of each tensor as more utterances."""

    def fold(x, dim, at):
        if x is None:
            return None
        # A gradient may be mapped where what it is for is not.
        x = x.unsqueeze(at).expand(*x.shape[:at], info.batch_size, *x.shape[at:]) if dim is None else x.movedim(dim, at)
        return x.flatten(at, at + 1)

    tensors = [fold(*one) for one in zip(inputs, in_dims, where, strict=False)]
    return *tensors, *inputs[len(where) :]


def _unfolded(info, outputs):
    """The terms with V again, and where it is."""
    return tuple(
        x.unflatten(at, (info.batch_size, -1)) for x, at in zip(outputs, _WHERE_TERMS, strict=True)
    ), _WHERE_TERMS


_forward.register_vmap(
    lambda info, in_dims, *inputs: _unfolded(info, _forward(*_folded(info, in_dims, inputs, _WHERE)))
)


@_backward.register_vmap
def _(info, in_dims, *inputs):
    found = _backward(*_folded(info, in_dims, inputs, _WHERE_BACKWARD))
    return found.unflatten(1, (info.batch_size, -1)), 1
