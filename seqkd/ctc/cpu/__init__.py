"""The CPU kernels of CTC and its distillation terms, in C++, called through ctypes.

``kernels.h`` computes, ``lattice.h`` holds CTC's recursion and says how its numbers are kept, ``ctc.cpp`` chooses the
instruction set and spreads utterances over threads.
"""

import ctypes
import os
from ctypes import c_char_p, c_double, c_int, c_int32, c_int64, c_void_p
from functools import cache

import torch
from torch import Tensor

from seqkd import native
from seqkd.ctc.arguments import check_labels
from seqkd.ctc.problem import Problem, Terms

TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
DISTANCES = {"none": 0, "squared": 1, "kl": 2}
OUT_OF_MEMORY, BAD_LABEL = 2, 3  # what seqkd_ctc_run returns then
CONSISTENCIES = {"none": 0, "attached": 1, "detached": 2}


class _Problem(ctypes.Structure):
    """``struct Problem`` of interface.h, field by field."""

    _fields_ = [
        *[(name, c_int64) for name in ("passes", "batch", "frames", "classes", "labels", "teachers", "slots")],
        ("logits", c_void_p),
        ("logits_strides", c_int64 * 4),
        ("teacher", c_void_p),
        ("teacher_strides", c_int64 * 4),
        *[(name, c_void_p) for name in ("targets", "input_lengths", "target_lengths")],
        ("temperature", c_double),
        *[
            (name, c_int32)
            for name in (
                *("type", "teacher_type", "blank", "ctc"),
                *("distance", "consistency", "nonblank", "gradient", "dense", "reduction", "zero_infinity"),
            )
        ],
        *[(name, c_void_p) for name in ("ctc_loss", "kd_loss", "consistency_loss", "rows", "occupancy")],
        *[
            (name, c_void_p)
            for name in ("ctc_grad", "kd_grad", "consistency_grad", "gradient_out", "reduced", "copies")
        ],
    ]


_SIZE = ctypes.sizeof(_Problem)


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where they are not built or are out of date."""
    found = native.library()
    if found is None or not hasattr(found, "seqkd_ctc_run"):
        return None
    found.seqkd_ctc_kernels.restype = c_char_p
    found.seqkd_ctc_kernels.argtypes = []
    found.seqkd_ctc_problem_size.restype = c_int64
    found.seqkd_ctc_run.restype = c_int
    found.seqkd_ctc_run.argtypes = [c_void_p, c_int, c_int]
    if found.seqkd_ctc_problem_size() != problem_size():
        return None  # built from other sources
    return found


def problem_size() -> int:
    """Bytes of ``struct Problem``."""
    return _SIZE


def available() -> tuple[bool, str]:
    """Whether the kernels are here, and if not, a sentence that says why and how to get them."""
    if library() is None:
        return False, f"the compiled part of seqkd is not built or is out of date; {native.HOW_TO_GET_IT}"
    if not library().seqkd_ctc_kernels():
        wanted = os.environ.get("SEQKD_CPU_KERNELS")
        return False, f"SEQKD_CPU_KERNELS is {wanted!r}, which this processor or build has not got"
    return True, ""


def kernels() -> str:
    """The instruction set that is used: "avx512", "avx2" or "portable". SEQKD_CPU_KERNELS overrides the choice."""
    return library().seqkd_ctc_kernels().decode()


def forward(problem: Problem) -> Terms:
    """The terms of a problem whose tensors are on the CPU.

    Raises:
        ValueError: a label that is none, if ``problem.check_labels``.
    """
    terms = problem.empty_terms()
    _run(problem, terms, {}, backward=False)
    return terms


def backward(problem: Problem, terms: Terms, ctc_grad: Tensor, kd_grad: Tensor, consistency_grad: Tensor) -> Tensor:
    """Gradient for the logits, (P, B, T, C) in their dtype; zero on padded frames.

    Args:
        problem: as given to :func:`forward`.
        terms: what it returned.
        ctc_grad: (P, B) gradient for ``terms.ctc``; a 0 removes the term, even one that is inf or NaN.
        kd_grad: (P, B).
        consistency_grad: (B,).
    """
    grads = {
        "ctc_grad": ctc_grad.to(problem.real).contiguous(),
        "kd_grad": kd_grad.to(problem.real).contiguous(),
        "consistency_grad": consistency_grad.to(problem.real).contiguous(),
        "gradient_out": torch.empty(problem.shape, dtype=problem.logits.dtype),
    }
    _run(problem, terms, grads, backward=True)
    return grads["gradient_out"]


def _rows(tensor: Tensor | None) -> Tensor | None:
    """The tensor in a type that the kernels read; nearly always itself."""
    if tensor is None:
        return None
    if tensor.dtype not in TYPES or (tensor.dtype == torch.float16 and not library().seqkd_ctc_has_float16()):
        tensor = tensor.float()
    return tensor


def _run(problem: Problem, terms: Terms, grads: dict[str, Tensor], *, backward: bool) -> None:
    passes, batch, frames, classes = problem.shape
    if 0 in problem.shape and not (frames == 0 and not backward):
        return  # no utterances, passes or classes; without frames, empty targets still have a loss
    logits, teacher = _rows(problem.logits), _rows(problem.teacher)
    gradient = grads.get("gradient_out")
    if gradient is not None and logits.dtype != problem.logits.dtype:
        grads["gradient_out"] = gradient = torch.empty(problem.shape, dtype=logits.dtype)
    targets = problem.targets.contiguous()
    lengths = problem.input_lengths.contiguous(), problem.target_lengths.contiguous()
    filled = _Problem(
        *(passes, batch, frames, classes, targets.shape[1], 0 if teacher is None else len(teacher), problem.slots),
        *(logits.data_ptr(), (c_int64 * 4)(*logits.stride())),
        teacher=None if teacher is None else teacher.data_ptr(),
        teacher_strides=(c_int64 * 4)(*(teacher.stride() if teacher is not None else ())),
        targets=targets.data_ptr(),
        input_lengths=lengths[0].data_ptr(),
        target_lengths=lengths[1].data_ptr(),
        temperature=problem.temperature,
        type=TYPES[logits.dtype],
        teacher_type=TYPES[logits.dtype if teacher is None else teacher.dtype],
        blank=problem.blank,
        ctc=problem.ctc,
        distance=DISTANCES[problem.distance],
        consistency=CONSISTENCIES[problem.consistency],
        nonblank=problem.nonblank,
        gradient=problem.gradient,
        dense=problem.dense_occupancy,
        ctc_loss=terms.ctc.data_ptr(),
        kd_loss=terms.kd.data_ptr(),
        consistency_loss=terms.consistency.data_ptr(),
        rows=terms.rows.data_ptr(),
        occupancy=terms.occupancy.data_ptr(),
        **{name: tensor.data_ptr() for name, tensor in grads.items()},
    )
    status = library().seqkd_ctc_run(ctypes.byref(filled), backward, torch.get_num_threads())
    if status == BAD_LABEL and problem.check_labels:
        check_labels(problem.targets, problem.target_lengths, classes, problem.blank)
    if status not in (0, BAD_LABEL):
        raise MemoryError(f"CTC of {batch} utterances of up to {frames} frames: out of memory")
    if gradient is not None:
        grads["gradient_out"] = gradient.to(problem.logits.dtype)
