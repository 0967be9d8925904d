"""Which kernel is launched on what: the same on a GPU and on the tests' emulator.

Letters: P passes, B utterances, T frames, C classes, S labels of the longest target, N = S + 1 pairs of a blank
and a label, Q teachers, R numbers kept of each frame, U slots of the occupancy.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from seqkd.ctc.problem import Problem, Terms

LOGIT_TYPES = {torch.float32: "float", torch.bfloat16: "bf16", torch.float16: "fp16"}
"""The kernels' names of the dtypes that they read."""

SOURCE_OF = {
    "row_pass": "rows",
    "sum_frames": "rows",
    "lattice_pass_1": "lattice",
    "lattice_pass_2": "lattice",
    "lattice_pass_4": "lattice",
    "occupancy_pass": "lattice",
    "slow_lattice_pass": "slow",
    "utterance_pass_1": "utterance",
    "utterance_pass_2": "utterance",
    "gradient_pass": "gradient",
}
"""Which program each kernel is in."""

MAX_LABELS = 11_000
"""Label occupancies of one frame must fit into the 48 KB of shared memory that need no opt-in."""

_DISTANCES = {"none": 0, "squared": 1, "kl": 2}
_CONSISTENCIES = {"none": 0, "attached": 1, "detached": 2}
_LATTICES = ((32, 1), (512, 2), (2048, 4))
"""Up to so many pairs: pairs a lane. Few make a step short; more need fewer warps that wait for each other."""
_BLOCK = 512
"""Threads of the blocks that do all of an utterance, or its lattice in double precision."""
_SHARED = 1192
"""Bytes of the struct ``Shared`` of ``utterance.cu``."""


_poison = False


@contextmanager
def poisoned() -> Iterator[None]:
    """Fill all room, for results and in between, with NaN: else a kernel that never runs leaves what was there before.

    That may be what an earlier run found, and right.
    """
    global _poison
    before, _poison = _poison, True
    try:
        yield
    finally:
        _poison = before


class Launch(NamedTuple):
    """How a kernel is started."""

    grid: int
    block: int
    shared: int = 0


class Launcher(Protocol):
    """Starts kernels on the current stream of the problem's device."""

    def __call__(self, kernel: str, launch: Launch, *arguments: int | float) -> None:
        """Start one kernel; pointers are ints, and all numbers 64 bits wide."""


def fits_one_block(problem: Problem) -> bool:
    """Whether CTC of an utterance is work for one block: few classes, and not too many labels and frames.

    A block reads few classes as fast as it walks through the lattice. Then one kernel instead of four is less to wait
    for, until so many frames that a block's share of the occupancies takes longer than starting kernels does. (512
    threads must have some left beside those that walk, for the chains of labels.)
    """
    _, _, frames, classes = problem.shape
    return problem.ctc and classes <= 128 and problem.targets.shape[1] < 448 and frames <= 512


def forward(problem: Problem, launch: Launcher, fault: Tensor, *, one_block: bool | None = None) -> Terms:
    """Values, and what the gradient needs of them.

    Args:
        problem: on the launcher's device.
        launch: starts the kernels.
        fault: (4,) int64 that the kernels may write and the host read: utterance, position and label of a bad
            label behind a 2; 0 at first, 1 while they are being written.
        one_block: whether one block does all of an utterance's CTC; the default is :func:`fits_one_block`. The results
            are the same, to the bit.

    Returns:
        The terms. A repeated label's occupancy is added up at its first position; its other positions and
        positions beyond the target hold -0.
    """
    passes, batch, frames, _ = problem.shape
    terms = problem.empty_terms()
    if _poison:
        for term in (terms.ctc, terms.kd, terms.consistency, terms.rows, terms.occupancy):
            term.fill_(torch.nan)
        for term, wanted in (
            (terms.ctc, problem.ctc),
            (terms.kd, problem.distance),
            (terms.consistency, problem.consistency),
        ):
            if wanted in (False, "none"):
                term.zero_()
    if batch == 0:
        return terms
    labels, items = problem.targets.shape[1], passes * batch
    device, gradient = problem.logits.device, problem.gradient
    lengths = _lengths(problem)
    status = torch.zeros(2, items, dtype=torch.int32, device=device)
    emissions = _empty(device, items * frames * problem.slots * 2 * problem.ctc)
    kd_rows = _empty(device, items * frames * (problem.distance != "none"))
    consistency_rows = _empty(device, batch * frames * (problem.consistency != "none"))

    one_block = fits_one_block(problem) if one_block is None else one_block and problem.ctc
    has_rows = problem.compares or not one_block
    if has_rows:
        launch(
            "row_pass",
            _rows_launch(problem),
            *_rows_arguments(problem, lengths),
            problem.nonblank,
            gradient,
            *(x.data_ptr() for x in (emissions, terms.rows, kd_rows, consistency_rows, status)),
        )
    if problem.compares:
        sums = items * (problem.distance != "none") + batch * (problem.consistency != "none")
        launch(
            "sum_frames",
            Launch(sums, 32),
            kd_rows.data_ptr(),
            consistency_rows.data_ptr(),
            lengths.data_ptr(),
            passes,
            batch,
            frames,
            _DISTANCES[problem.distance],
            terms.kd.data_ptr(),
            terms.consistency.data_ptr(),
        )
    if problem.ctc:
        pairs = _round_up(labels + 1, 4)
        rows = frames if gradient else 2  # of packed states, or of double precision without a gradient
        states = _States(
            lengths,
            status,
            emissions,
            packed=_empty(device, items * 2 * max(rows, 1) * pairs * 2),
            bases=_empty(device, items * 2 * frames * (pairs // 4) * gradient),
        )
        told = fault.data_ptr() if problem.check_labels else 0
        if one_block:
            _utterances(problem, launch, terms, states, has_rows, told)
        else:
            _lattice(problem, launch, terms, states, told)
    return terms


class _States(NamedTuple):
    """What the lattice works with."""

    lengths: Tensor
    status: Tensor
    emissions: Tensor
    packed: Tensor
    bases: Tensor


def _utterances(problem: Problem, launch: Launcher, terms: Terms, states: _States, has_rows: bool, fault: int) -> None:
    passes, batch, frames, classes = problem.shape
    labels = problem.targets.shape[1]
    lane_pairs = 1 if labels < 32 else 2
    walkers = _round_up(-(-(labels + 1) // lane_pairs), 32)
    launch(
        f"utterance_pass_{lane_pairs}",
        Launch(passes * batch, _BLOCK, _SHARED + 4 * labels + 4 * labels * (_BLOCK // 32)),
        *_logits_arguments(problem.logits),
        states.lengths.data_ptr(),
        problem.targets.data_ptr(),
        *(passes, batch, frames, labels, classes, problem.blank, problem.slots),
        problem.gradient,
        has_rows,
        _threads_per_row(classes),
        walkers,
        *(x.data_ptr() for x in (states.emissions, terms.rows, states.packed, states.bases, states.status)),
        *(x.data_ptr() for x in (terms.ctc, terms.occupancy)),
        fault,
    )


def _lattice(problem: Problem, launch: Launcher, terms: Terms, states: _States, fault: int) -> None:
    passes, batch, frames, classes = problem.shape
    labels, items, device = problem.targets.shape[1], passes * batch, problem.logits.device
    gradient = problem.gradient
    lengths, status, emissions, packed, bases = states
    likelihoods = _empty(device, items * 2)
    chains = _empty(device, batch * labels)
    sizes = (passes, batch, frames, labels, classes, problem.blank, problem.slots)
    inputs = (emissions.data_ptr(), lengths.data_ptr(), problem.targets.data_ptr())

    kernel, threads, too_long = _lattice_kernel(labels + 1)
    launch(
        kernel,
        Launch(items * 2 + batch if gradient else items, threads, 66 * 8 + 16),
        *inputs,
        *sizes,
        gradient,
        too_long,
        *(x.data_ptr() for x in (packed, bases, likelihoods, chains, status, terms.ctc)),
        fault,
    )
    if gradient and frames > 0:
        warps = max(1, min(8, 48 * 1024 // (4 * labels)))
        launch(
            "occupancy_pass",
            Launch(-(-items * frames // warps), 32 * warps, 4 * warps * labels),
            *(x.data_ptr() for x in (packed, bases, likelihoods, chains, lengths, problem.targets)),
            *sizes,
            status.data_ptr(),
            terms.occupancy.data_ptr(),
        )
    launch(
        "slow_lattice_pass",
        Launch(items, _BLOCK, 4 * (labels + _BLOCK // 32)),
        *inputs,
        *sizes,
        gradient,
        *(x.data_ptr() for x in (packed, chains, status, terms.ctc, terms.occupancy)),
    )


def backward(
    problem: Problem,
    launch: Launcher,
    terms: Terms,
    ctc_grad: Tensor,
    kd_grad: Tensor,
    consistency_grad: Tensor,
) -> Tensor:
    """The gradient for the logits.

    Args:
        problem: as given to :func:`forward`, with ``gradient``.
        launch: starts the kernels.
        terms: from :func:`forward`.
        ctc_grad: (P, B) coefficients.
        kd_grad: (P, B).
        consistency_grad: (B,).

    Returns:
        (P, B, T, C), contiguous, in the dtype of the logits.
    """
    gradient = torch.empty(problem.shape, dtype=problem.logits.dtype, device=problem.logits.device)
    if _poison:
        gradient.fill_(torch.nan)
    if gradient.numel() == 0:
        return gradient
    coefficients = [x.to(torch.float32).contiguous() for x in (ctc_grad, kd_grad, consistency_grad)]
    lengths = _lengths(problem)
    launch(
        "gradient_pass",
        _rows_launch(problem),
        *_rows_arguments(problem, lengths),
        *(x.data_ptr() for x in (terms.ctc, terms.kd, terms.consistency, terms.rows, terms.occupancy)),
        *(x.data_ptr() for x in coefficients),
        gradient.data_ptr(),
    )
    return gradient


def _rows_arguments(problem: Problem, lengths: Tensor) -> tuple[int | float, ...]:
    """What the kernels that read rows of logits have in common."""
    passes, batch, frames, classes = problem.shape
    return (
        *_logits_arguments(problem.logits),
        *_logits_arguments(problem.logits if problem.teacher is None else problem.teacher),
        lengths.data_ptr(),
        problem.targets.data_ptr(),
        *(passes, 0 if problem.teacher is None else len(problem.teacher), batch, frames, classes),
        *(problem.targets.shape[1], problem.blank, problem.slots),
        problem.ctc,
        _DISTANCES[problem.distance],
        float(problem.temperature),
        _CONSISTENCIES[problem.consistency],
        _threads_per_row(classes),
    )


def _lengths(problem: Problem) -> Tensor:
    """(2, B) input and target lengths on the device, in one copy that the host does not wait for."""
    lengths = torch.stack([problem.input_lengths, problem.target_lengths])
    if problem.logits.is_cuda:
        lengths = lengths.pin_memory()  # a copy from any other memory may wait
    return lengths.to(problem.logits.device, non_blocking=True)


def _logits_arguments(logits: Tensor) -> tuple[int, ...]:
    """Pointer, strides, and whether four classes can be read at once from every row."""
    strides = logits.stride()
    size = 4 * logits.element_size()
    vector = strides[3] == 1 and logits.data_ptr() % size == 0 and all(s % 4 == 0 for s in strides[:3])
    return logits.data_ptr(), *strides, vector


def _threads_per_row(classes: int) -> int:
    """Of the sizes, only C decides: an utterance's sums are added up in one order whatever the batch."""
    if classes <= 64:
        return 8 if classes <= 32 else 16
    return 32 if classes <= 1024 else 128 if classes <= 8192 else 256


def _rows_launch(problem: Problem) -> Launch:
    threads = _threads_per_row(problem.shape[3])
    rows_per_block = max(1, 128 // threads)
    frames = problem.shape[1] * problem.shape[2]
    return Launch(
        max(1, -(-frames // rows_per_block)), threads * rows_per_block, 4 * (8 + rows_per_block * problem.row_values)
    )


def _lattice_kernel(pairs: int) -> tuple[str, int, bool]:
    """Its name, threads, and whether the pairs are too many for it."""
    for most, lane_pairs in _LATTICES:
        if pairs <= most:
            return f"lattice_pass_{lane_pairs}", _round_up(-(-pairs // lane_pairs), 32), False
    return "lattice_pass_1", 32, True


def _empty(device: torch.device, numbers: int) -> Tensor:
    """Room for 32-bit numbers; of poison, -1 is NaN in both sizes of float."""
    return (
        torch.full((numbers,), -1, dtype=torch.int32, device=device)
        if _poison
        else torch.empty(numbers, dtype=torch.int32, device=device)
    )


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
