"""CTC, distillation and consistency as one differentiable operator, on whichever native backend the logits are.

Registered with torch, so that ``torch.compile(fullgraph=True)``, autocast and functional transforms see through it.

Letters: P passes, B utterances, T frames, C classes, S labels of the longest target, Q teachers (1 or P).
"""

import warnings
from functools import cache
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from seqkd.ctc import cpu
from seqkd.ctc.arguments import check_labels, check_lengths
from seqkd.ctc.problem import Problem, Terms

BACKENDS = ("auto", "cpu", "cuda", "torch", "reference")


class Losses(NamedTuple):
    """Terms by pass and utterance: ctc (P, B), kd (P, B), consistency (B,). Those not asked for are 0."""

    ctc: Tensor
    kd: Tensor
    consistency: Tensor


def choose_backend(backend: str, logits: Tensor) -> str:
    """What ``backend`` means for these logits: "cpu", "cuda", "torch" or "reference".

    Raises:
        ValueError: a backend that is not available here, with how to get it, or that cannot take these logits.
    """
    if backend in ("torch", "reference"):
        return backend
    device = logits.device.type
    if backend not in ("auto", device):
        raise ValueError(f'backend "{backend}" was asked for, but the logits are on the device "{device}"')
    if device not in ("cpu", "cuda"):
        return "torch"
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
) -> Losses:
    """The terms of :class:`seqkd.ctc.problem.Problem`, which says what each argument means.

    Args:
        logits: (P, B, T, C) on the CPU or a GPU.
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

    Raises:
        ValueError: a length or label that is out of range, naming the utterance and the value.
    """
    # Once, not in both directions: from the GPU, it waits.
    input_lengths, target_lengths = input_lengths.cpu(), target_lengths.cpu()
    gradient = torch.is_grad_enabled() and logits.requires_grad
    options = (blank, ctc, distance, temperature, nonblank, consistency, gradient)
    checks = 1 if validate is None else 2 * validate
    apply = _forward if torch.compiler.is_compiling() else _Eager.apply
    return Losses(*apply(logits, teacher, targets, input_lengths, target_lengths, *options, checks)[:3])


@cache
def _warn_of_fallback(why: str) -> None:
    warnings.warn(f"CTC falls back on torch's operator, which is slower and less exact: {why}", stacklevel=5)


def _available(device: str) -> tuple[bool, str]:
    return _backend(device).available()


# What torch.compiler.assume_constant_result does, without its import of the whole compiler.
_available._dynamo_marked_constant = True


def _backend(device: str) -> ModuleType:
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
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    # Values are looked at in here, where a compiled graph does not trace.
    check_lengths("input", input_lengths, logits.shape[2], "T")
    check_lengths("target", target_lengths, targets.shape[1], "S")
    on_host = targets.device.type == "cpu"
    if checks == 2 or (checks == 1 and on_host and logits.device.type != "cpu"):
        check_labels(targets, target_lengths, logits.shape[3], blank)
    options = (blank, ctc, distance, temperature, nonblank, consistency, gradient)
    targets = targets.to(logits.device, non_blocking=True)
    problem = Problem(logits, teacher, targets, input_lengths, target_lengths, *options, check_labels=checks == 1)
    return tuple(_backend(logits.device.type).forward(problem))


_forward = torch.library.custom_op("seqkd::ctc_terms", _forward_eager, mutates_args=())


@_forward.register_fake
def _(logits, teacher, targets, input_lengths, target_lengths, *options):
    targets = torch.empty_like(targets, device=logits.device)
    return tuple(Problem(logits, teacher, targets, input_lengths, target_lengths, *options[:7]).empty_terms())


def _backward_eager(
    logits: Tensor,
    teacher: Tensor | None,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    terms: list[Tensor],
    grads: list[Tensor],
    blank: int,
    ctc: bool,
    distance: str,
    temperature: float,
    nonblank: bool,
    consistency: str,
) -> Tensor:
    options = (blank, ctc, distance, temperature, nonblank, consistency, True)
    targets = targets.to(logits.device, non_blocking=True)
    problem = Problem(logits, teacher, targets, input_lengths, target_lengths, *options)
    return _backend(logits.device.type).backward(problem, Terms(*terms), *grads)


_backward = torch.library.custom_op("seqkd::ctc_terms_backward", _backward_eager, mutates_args=())


@_backward.register_fake
def _(logits, *_):
    return torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)


def _keep(ctx, inputs, output) -> None:
    logits, teacher, targets, input_lengths, target_lengths, *options = inputs
    ctx.save_for_backward(logits, teacher, targets, input_lengths, target_lengths, *output)
    ctx.options = options[:6]


def _differentiate(ctx, *grads, backward=_backward):
    *inputs, ctc, kd, consistency, rows, occupancy = ctx.saved_tensors
    grads = [torch.zeros_like(term) if g is None else g for g, term in zip(grads, (ctc, kd, consistency), strict=False)]
    gradient = backward(*inputs, [ctc, kd, consistency, rows, occupancy], grads, *ctx.options)
    return gradient, *[None] * 12


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
        return _differentiate(ctx, *grads, backward=_backward if torch.is_grad_enabled() else _backward_eager)
