"""Which kernel is launched on what: the same on a GPU and on the tests' emulator.

Letters: P passes, B utterances, T frames, C classes, S labels of the longest target, N = S + 1 pairs of a blank
and a label, Q teachers, R numbers kept of each frame, U slots of the occupancy.
"""

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
    "gradient_pass": "gradient",
}
"""Which program each kernel is in."""

MAX_LABELS = 11_000
"""Label occupancies of one frame must fit into the 48 KB of shared memory that need no opt-in."""

_DISTANCES = {"none": 0, "squared": 1, "kl": 2}
_CONSISTENCIES = {"none": 0, "attached": 1, "detached": 2}
_LATTICES = ((32, 1), (512, 2), (2048, 4))
"""Up to so many pairs: pairs a lane. Few make a step short; more need fewer warps that wait for each other."""


class Launch(NamedTuple):
    """How a kernel is started."""

    grid: int
    block: int
    shared: int = 0


class Launcher(Protocol):
    """Starts kernels on the current stream of the problem's device."""

    def __call__(self, kernel: str, launch: Launch, *arguments: int | float) -> None:
        """Start one kernel; pointers are ints, and all numbers 64 bits wide."""


def forward(problem: Problem, launch: Launcher, fault: Tensor) -> Terms:
    """Values, and what the gradient needs of them.

    Args:
        problem: on the launcher's device.
        launch: starts the kernels.
        fault: (4,) int64 that the kernels may write and the host read: utterance, position and label of a bad
            label behind a 2; 0 at first, 1 while they are being written.

    Returns:
        The terms. A repeated label's occupancy is added up at its first position; its other positions and
        positions beyond the target hold -0.
    """
    passes, batch, frames, classes = problem.shape
    terms = problem.empty_terms()
    if batch == 0:
        return terms
    labels, items = problem.targets.shape[1], passes * batch
    device, gradient = problem.logits.device, problem.gradient
    lengths = _lengths(problem)
    status = torch.zeros(2, items, dtype=torch.int32, device=device)
    label_emissions = _empty(device, items * frames * _round_up(labels, 4) * 2 * problem.ctc)
    blank_emissions = _empty(device, items * frames * 2 * problem.ctc)
    kd_rows = _empty(device, items * frames * (problem.distance != "none"))
    consistency_rows = _empty(device, batch * frames * (problem.consistency != "none"))

    launch(
        "row_pass",
        _rows_launch(problem),
        *_logits_arguments(problem.logits),
        *_logits_arguments(problem.logits if problem.teacher is None else problem.teacher),
        lengths.data_ptr(),
        problem.targets.data_ptr(),
        *_sizes(problem),
        problem.ctc,
        _DISTANCES[problem.distance],
        float(problem.temperature),
        problem.nonblank,
        _CONSISTENCIES[problem.consistency],
        gradient,
        _threads_per_row(classes),
        *(x.data_ptr() for x in (label_emissions, blank_emissions, terms.rows, kd_rows, consistency_rows, status)),
    )
    if problem.distance != "none" or problem.consistency != "none":
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
        _lattice(problem, launch, terms, lengths, status, label_emissions, blank_emissions, fault)
    return terms


def _lattice(
    problem: Problem,
    launch: Launcher,
    terms: Terms,
    lengths: Tensor,
    status: Tensor,
    label_emissions: Tensor,
    blank_emissions: Tensor,
    fault: Tensor,
) -> None:
    passes, batch, frames, classes = problem.shape
    labels, items, device = problem.targets.shape[1], passes * batch, problem.logits.device
    gradient, dense, slots = problem.gradient, problem.dense_occupancy, problem.slots
    pairs = _round_up(labels + 1, 4)
    rows = frames if gradient else 2  # of packed states, or of double precision without a gradient
    packed = _empty(device, items * 2 * max(rows, 1) * pairs * 2)
    bases = _empty(device, items * 2 * frames * (pairs // 4) * gradient)
    likelihoods = _empty(device, items * 2)
    chains = _empty(device, batch * labels)
    sizes = (passes, batch, frames, labels, classes, problem.blank)
    emissions = (label_emissions.data_ptr(), blank_emissions.data_ptr(), lengths.data_ptr(), problem.targets.data_ptr())

    kernel, threads, too_long = _lattice_kernel(labels + 1)
    launch(
        kernel,
        Launch(items * 2 + batch if gradient else items, threads, 66 * 8 + 16),
        *emissions,
        *sizes,
        gradient,
        too_long,
        *(x.data_ptr() for x in (packed, bases, likelihoods, chains, status, terms.ctc)),
        fault.data_ptr() if problem.check_labels else 0,
    )
    if gradient and frames > 0:
        warps = max(1, min(8, 48 * 1024 // (4 * labels)))
        launch(
            "occupancy_pass",
            Launch(-(-items * frames // warps), 32 * warps, 4 * warps * labels),
            *(x.data_ptr() for x in (packed, bases, likelihoods, chains, lengths, problem.targets)),
            *sizes,
            dense,
            slots,
            status.data_ptr(),
            terms.occupancy.data_ptr(),
        )
    launch(
        "slow_lattice_pass",
        Launch(items, 256, 4 * (labels + 8)),
        *emissions,
        *sizes,
        gradient,
        max(rows, 1),
        dense,
        slots,
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
    if gradient.numel() == 0:
        return gradient
    coefficients = [x.to(torch.float32).contiguous() for x in (ctc_grad, kd_grad, consistency_grad)]
    lengths = _lengths(problem)
    launch(
        "gradient_pass",
        _rows_launch(problem),
        *_logits_arguments(problem.logits),
        *_logits_arguments(problem.logits if problem.teacher is None else problem.teacher),
        lengths.data_ptr(),
        problem.targets.data_ptr(),
        *_sizes(problem),
        problem.ctc,
        _DISTANCES[problem.distance],
        float(problem.temperature),
        _CONSISTENCIES[problem.consistency],
        problem.dense_occupancy,
        problem.slots,
        _threads_per_row(problem.shape[3]),
        *(x.data_ptr() for x in (terms.ctc, terms.kd, terms.consistency, terms.rows, terms.occupancy)),
        *(x.data_ptr() for x in coefficients),
        gradient.data_ptr(),
    )
    return gradient


def _sizes(problem: Problem) -> tuple[int, ...]:
    passes, batch, frames, classes = problem.shape
    teachers = 0 if problem.teacher is None else len(problem.teacher)
    return passes, teachers, batch, frames, classes, problem.targets.shape[1], problem.blank


def _lengths(problem: Problem) -> Tensor:
    """(2, B) input and target lengths on the device, in one copy that the host does not wait for."""
    return torch.stack([problem.input_lengths, problem.target_lengths]).to(problem.logits.device, non_blocking=True)


def _logits_arguments(logits: Tensor) -> tuple[int, ...]:
    """Pointer, strides, and whether four classes can be read at once from every row."""
    strides = logits.stride()
    size = 4 * logits.element_size()
    vector = strides[3] == 1 and logits.data_ptr() % size == 0 and all(s % 4 == 0 for s in strides[:3])
    return logits.data_ptr(), *strides, vector


def _threads_per_row(classes: int) -> int:
    """Of the sizes, only C decides: an utterance's sums are added up in one order whatever the batch."""
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
    """Room for 32-bit numbers."""
    return torch.empty(numbers, dtype=torch.int32, device=device)


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
