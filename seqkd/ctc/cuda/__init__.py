"""The CTC loss and its distillation terms on NVIDIA GPUs: a row pass, a lattice pass, a gradient pass.

Where classes are few and frames not many, one pass over utterances does the work of the first two.

The kernels are the ``.cu`` files of this directory; :mod:`.passes` says which is launched on what, and
:mod:`.compiler` makes them. They run on torch's current stream and never make the host wait. Importing this module
imports torch and nothing of CUDA.
"""

from collections.abc import Callable
from functools import cache, lru_cache

import torch
from torch import Tensor

from seqkd.ctc.cuda import compiler, passes
from seqkd.ctc.frames import frame_mask
from seqkd.ctc.problem import Problem, Terms
from seqkd.ctc.reference import reference_nll


@cache
def available() -> tuple[bool, str]:
    """Whether the kernels can run here, and if not, one sentence that says why and how to get them.

    The first call on a machine compiles the kernels (some seconds); the first in a process computes a small problem on
    them, and on the host in float64: kernels that are wrong on some GPU must not train anybody's model.
    """
    if not torch.cuda.is_available():
        return False, "the CUDA kernels need an NVIDIA GPU and a torch that can use it, and torch.cuda finds none"
    toolkit = f"pip install 'cuda-core[cu{(torch.version.cuda or '13').split('.')[0]}]'"
    try:
        from cuda.bindings import nvrtc
        from cuda.core import ObjectCode, Program  # noqa: F401

        nvrtc.nvrtcVersion()
    except (ImportError, RuntimeError) as error:
        return False, f"the CUDA kernels need cuda-core and NVRTC ({error}): {toolkit}"
    arch = _arch(torch.device("cuda", torch.cuda.current_device()))
    try:
        compiler.load("slow", arch)
    except Exception as error:
        return False, f"the CUDA kernels do not compile for {arch} ({type(error).__name__}: {error}): {toolkit}"
    error = self_test(torch.device("cuda", torch.cuda.current_device()), _Launcher)
    if not error < 1e-4:
        return False, (
            f"the CUDA kernels are off by {error:.1e} in their self-test on {torch.cuda.get_device_name()} and are "
            'not used; please report it, and use backend="torch"'
        )
    return True, ""


def self_test(device: torch.device, launcher: Callable[[Problem], passes.Launcher]) -> float:
    """Largest error of values and gradient of all terms, on a small problem (P2 B3 T40 C20), against float64.

    Computed with an utterance in one block, and with all kernels, in memory full of NaN.
    """
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2, 3, 40, 20, generator=generator)
    teacher = 2 * torch.randn(1, 3, 40, 20, generator=generator)
    targets = torch.tensor([[1, 2, 2, 19, 5, 5], [3, 1, 3, 1, 7, 0], [4, 0, 0, 0, 0, 0]])
    lengths = torch.tensor([40, 33, 7]), torch.tensor([6, 5, 1])
    options = (0, True, "kl", 2.0, False, "attached", True)
    problem = Problem(logits.to(device), teacher.to(device), targets.to(device), *lengths, *options)
    launch = launcher(problem)
    exact = logits.double().requires_grad_()
    mask = frame_mask(lengths[0], 40)
    p, q = exact.log_softmax(-1)
    soft, theirs = (exact / 2).log_softmax(-1), (teacher.double() / 2).log_softmax(-1)
    expected = (
        torch.stack([reference_nll(x, targets, *lengths, 0) for x in (p, q)]),
        4 * (theirs.exp() * (theirs - soft)).sum(-1).mul(mask).sum(-1),
        0.5 * ((p.exp() - q.exp()) * (p - q)).sum(-1).mul(mask).sum(-1),
    )
    (exact_gradient,) = torch.autograd.grad(sum(term.sum() for term in expected), exact)
    errors = []
    for one_block in (True, False):
        unread = torch.zeros(4, dtype=torch.int64)  # labels are not checked
        with passes.poisoned():
            terms = passes.forward(problem, launch, unread, one_block=one_block)
            gradient = passes.backward(problem, launch, terms, *(torch.ones_like(term) for term in terms[:3]))
        errors += [((a.cpu() - b).abs() / (1 + b.abs())).max() for a, b in zip(terms[:3], expected, strict=True)]
        errors.append((gradient.cpu().double() - exact_gradient).abs().max())
    return float(torch.stack(errors).detach().max())  # NaN if any is


def supports(problem: Problem) -> tuple[bool, str]:
    """Whether the kernels can compute this problem, and if not, one sentence that says why."""
    if problem.logits.device.type != "cuda":
        return False, f"the CUDA kernels need logits on a GPU, not on {problem.logits.device}"
    for tensor in (problem.logits, problem.teacher):
        if tensor is not None and tensor.dtype not in passes.LOGIT_TYPES:
            return False, f"the CUDA kernels compute in float32 and do not take {tensor.dtype}: use the torch backend"
    if problem.targets.shape[1] > passes.MAX_LABELS:
        return False, f"the CUDA kernels take up to {passes.MAX_LABELS} labels, not {problem.targets.shape[1]}"
    return True, ""


def forward(problem: Problem) -> Terms:
    """Values of a problem, and what its gradient needs. Never waits for the GPU.

    Args:
        problem: tensors on one GPU; logits (P, B, T, C) in float32, bfloat16 or float16.

    Returns:
        The terms, in float32.

    Raises:
        ValueError: the problem cannot be computed here, or an **earlier** batch on this GPU with ``check_labels``
            had a bad label (its utterance's loss was NaN); the utterance and the value are named.
    """
    _check(problem)
    device = problem.logits.device
    fault = _fault(device)
    raise_earlier_fault(fault)
    with torch.cuda.device(device):
        return passes.forward(problem, _Launcher(problem), fault)


def backward(problem: Problem, terms: Terms, ctc_grad: Tensor, kd_grad: Tensor, consistency_grad: Tensor) -> Tensor:
    """The gradient for the logits.

    Where a coefficient is 0 its term contributes exactly nothing, even where its value is inf or NaN. An
    utterance whose target cannot be aligned has no CTC gradient; where a wanted term is NaN, so is the gradient of
    that pass and utterance. Padded frames get 0.

    Args:
        problem: as given to :func:`forward`.
        terms: what it gave.
        ctc_grad: (P, B) coefficients of ``terms.ctc``.
        kd_grad: (P, B) of ``terms.kd``.
        consistency_grad: (B,) of ``terms.consistency``.

    Returns:
        (P, B, T, C) in the dtype of the logits.
    """
    _check(problem)
    with torch.cuda.device(problem.logits.device):
        return passes.backward(problem, _Launcher(problem), terms, ctc_grad, kd_grad, consistency_grad)


def raise_earlier_fault(fault: Tensor) -> None:
    """Raise ValueError if a kernel has noted a bad label in ``fault`` (4,), and forget it."""
    found, utterance, position, label = fault.tolist()
    if found == 2:
        fault.zero_()
        raise ValueError(
            f"an earlier batch on this GPU, utterance {utterance}: target {label} at position {position} is the blank "
            "or out of range (validate=True says so at once)"
        )


def _check(problem: Problem) -> None:
    for fine, why in (available(), supports(problem)):
        if not fine:
            raise ValueError(why)


@cache
def _fault(device: torch.device) -> Tensor:
    """(4,) in host memory that the GPU can write: reading it waits for nothing."""
    with torch.cuda.device(device):
        return torch.zeros(4, dtype=torch.int64).pin_memory()


@cache
def _arch(device: torch.device) -> str:
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


class _Launcher:
    """Starts kernels on torch's current stream."""

    def __init__(self, problem: Problem) -> None:
        teacher = problem.logits if problem.teacher is None else problem.teacher
        types = passes.LOGIT_TYPES[problem.logits.dtype], passes.LOGIT_TYPES[teacher.dtype]
        self._variant = compiler.Variant(*types, problem.compares)
        self._arch = _arch(problem.logits.device)
        self._stream = _stream(torch.cuda.current_stream(problem.logits.device).cuda_stream)

    def __call__(self, kernel: str, launch: passes.Launch, *arguments: int | float) -> None:
        from cuda.core import launch as start

        # Each is 64 bits wide to cuda-core, as the kernels expect; a bool would be 8.
        arguments = [x if isinstance(x, float) else int(x) for x in arguments]
        start(self._stream, _config(launch), _kernel(kernel, self._arch, self._variant), *arguments)


@lru_cache(64)
def _stream(handle: int) -> object:
    from cuda.core import Stream

    # The default stream by the name that no environment variable changes.
    return Stream.from_handle(handle or 1)


@lru_cache(4096)
def _config(launch: passes.Launch) -> object:
    from cuda.core import LaunchConfig

    return LaunchConfig(grid=launch.grid, block=launch.block, shmem_size=launch.shared)


@cache
def _kernel(kernel: str, arch: str, variant: compiler.Variant) -> object:
    source = passes.SOURCE_OF[kernel]
    return compiler.load(source, arch, variant if source in compiler.VARIED_SOURCES else None).get_kernel(kernel)
