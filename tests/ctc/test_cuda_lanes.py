"""The CUDA kernels on the host: compiled by g++, warps and barriers emulated, against float64."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from seqkd.ctc.cuda import passes, raise_earlier_fault, self_test
from seqkd.ctc.cuda.compiler import Variant
from tests.ctc.cuda_emulator import Emulator, NoCompiler, build, no_fault
from tests.gpu.suite import REGIMES, KernelSuite, compute, expected, make_problem, random_batch, regime

pytestmark = pytest.mark.slow


class HostBackend:
    """:mod:`seqkd.ctc.cuda` with the emulator in place of a GPU."""

    device = torch.device("cpu")

    def __init__(self, library, *, one_block=None, **options):
        self.launch = Emulator(library, **options)
        self.fault = no_fault()
        self.one_block = one_block

    def forward(self, problem):
        with passes.poisoned():  # what a kernel does not write is NaN
            return passes.forward(problem, self.launch, self.fault, one_block=self.one_block)

    def backward(self, problem, terms, *weights):
        with passes.poisoned():
            return passes.backward(problem, self.launch, terms, *weights)

    def raise_fault(self):
        raise_earlier_fault(self.fault)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """Builds the kernels for a variant, once."""

    @cache
    def library(*variant):
        try:
            return build(tmp_path_factory.mktemp("kernels"), Variant(*variant))
        except NoCompiler as reason:
            pytest.skip(str(reason))

    return library


@pytest.fixture
def backend(libraries):
    return HostBackend(libraries())


class TestKernels(KernelSuite):
    pass


class TestSeparateKernels(KernelSuite):
    """Where an utterance would be work for one block, too."""

    @pytest.fixture
    def backend(self, libraries):
        return HostBackend(libraries(), one_block=False)

    # What is too much for one block goes this way in TestKernels already, and takes the emulator long.
    test_long_inputs = test_long_targets = test_many_classes_with_all_terms = None


@pytest.mark.parametrize(
    "broken", [None, "row_pass", "sum_frames", "occupancy_pass", "utterance_pass_1", "gradient_pass"]
)
def test_the_self_test_before_first_use(libraries, broken):
    emulator = Emulator(libraries())
    emulator.skipped = broken
    error = self_test(torch.device("cpu"), lambda problem: emulator)
    assert (error < 1e-5) if broken is None else not (error < 1e-4)


def test_the_order_of_threads_changes_nothing(libraries):
    logits, *rest = random_batch(0, passes=2, classes=1500, frames=12, labels=5)
    options = {"teacher": torch.randn(1, 3, 12, 1500), "distance": "kl", "consistency": "attached"}
    problems = [make_problem(HostBackend, logits, *rest, **options)]
    for labels in (20, 130, 600, 1030):
        problems.append(make_problem(HostBackend, *regime("peaked", labels + 20, 40, labels), [labels + 20], [labels]))
    for problem in problems:
        forwards, backwards = (compute(HostBackend(libraries(), backwards=x), problem) for x in (False, True))
        assert torch.equal(forwards[1], backwards[1])
        assert all(torch.equal(a, b) for a, b in zip(forwards[0][:3], backwards[0][:3], strict=True))


def test_half_precision_is_computed_in_float32(libraries, logits_type="bf16", teacher_type="fp16"):
    dtypes = {name: dtype for dtype, name in passes.LOGIT_TYPES.items()}
    half = HostBackend(libraries(logits_type, teacher_type))
    for classes in (11, 12):
        logits, *rest = random_batch(0, passes=2, classes=classes)
        logits = logits.to(dtypes[logits_type])
        teacher = torch.randn(1, 3, 30, classes).to(dtypes[teacher_type])
        options = {"distance": "kl", "consistency": "attached", "temperature": 2.0}
        terms, gradient = compute(half, make_problem(half, logits, *rest, teacher=teacher, **options))
        in_float = make_problem(half, logits.float(), *rest, teacher=teacher.float(), **options)
        right, right_gradient = compute(HostBackend(libraries()), in_float)
        assert all(torch.equal(a, b) for a, b in zip(terms[:3], right[:3], strict=True))
        assert gradient.dtype == logits.dtype and torch.equal(gradient, right_gradient.to(logits.dtype))


def test_without_distillation_and_consistency(libraries, backend):
    plain = HostBackend(libraries("float", "float", False))
    for classes in (7, 40, 1500):
        problem = make_problem(backend, *random_batch(0, classes=classes, passes=2, frames=12, labels=5))
        (terms, gradient), (right, right_gradient) = compute(plain, problem), compute(backend, problem)
        assert torch.equal(terms.ctc, right.ctc) and torch.equal(gradient, right_gradient)


def test_occupancies_add_up_to_one(backend):
    for classes in (5, 50):
        problem = make_problem(backend, *random_batch(0, classes=classes))
        occupancy = backend.forward(problem).occupancy
        for b, frames in enumerate(problem.input_lengths):
            torch.testing.assert_close(occupancy[0, b, :frames].sum(-1), torch.ones(frames), rtol=1e-6, atol=0)


def test_states_too_far_apart_to_be_packed_are_computed_in_double_precision(libraries):
    backend = HostBackend(libraries(), one_block=False)
    # Four neighbours further apart than 1,021 bits, and the least of them is on the only path that ends.
    frames, classes = 6, 6
    logits = torch.zeros(1, 1, frames, classes)
    logits[0, 0, :, 1] = 900.0
    target = torch.tensor([[1, 2, 3, 4, 5]])
    problem = make_problem(backend, logits, target, [frames], [5])
    ctc, _, _, right = expected(problem)
    errors = []
    for backend.launch.skipped in ("", "slow_lattice_pass"):
        terms, gradient = compute(backend, problem)
        torch.testing.assert_close(terms.ctc.double(), ctc, rtol=1e-6, atol=0)
        errors.append((gradient.double() - right).abs().nan_to_num(1.0).max())
    assert errors[0] < 1e-5 < errors[1]
    backend.one_block = True
    assert (compute(backend, problem)[1].double() - right).abs().max() < 1e-5


def small_problems():
    """What is work for one block: also for each of its ways out, and at the limits of its sizes."""
    for seed, (classes, labels) in enumerate([(5, 3), (7, 8), (20, 31), (32, 32), (33, 40), (64, 70), (128, 20)]):
        batch = random_batch(seed, passes=2, batch=4, classes=classes, labels=labels, frames=90, blank=seed % 3)
        yield {"batch": batch, "blank": seed % 3}
        yield {"batch": batch, "blank": seed % 3, "gradient": False}
        teacher = torch.randn(1, 4, 90, classes, generator=torch.Generator().manual_seed(seed))
        compared = {"teacher": teacher, "distance": "kl", "consistency": "attached", "temperature": 2.0}
        yield {"batch": batch, "blank": seed % 3, **compared}
    for name in REGIMES:
        yield {"batch": (*regime(name, 512, 30, 200), [512], [200])}
    yield {"batch": (*regime("peaked", 500, 30, 447), [500], [447])}
    for compared in ({}, {"teacher": torch.zeros(1, 3, 30, 7), "distance": "kl"}):
        logits, targets, *lengths = random_batch(9)
        for scale in (3e3, 1e30):  # only double precision will do
            yield {"batch": (scale * logits, targets, *lengths), **compared}
            yield {"batch": (scale * logits, targets, *lengths), "gradient": False, **compared}
        logits[0, 1, 3] = torch.nan
        targets[2, 1] = 99
        yield {"batch": (logits, targets, *lengths), **compared}
    yield {"batch": (torch.randn(1, 3, 4, 3), torch.ones(3, 3, dtype=torch.long), [0, 4, 4], [0, 3, 0])}


@pytest.mark.parametrize("backwards", [False, True])
def test_one_block_gives_the_same_bits_as_separate_kernels(libraries, backwards):
    for options in small_problems():
        batch = options.pop("batch")
        problem = make_problem(HostBackend, *batch, **options)
        assert passes.fits_one_block(problem)
        if backwards and problem.shape[2] > 400:
            continue  # minutes; test_the_order_of_threads_changes_nothing has as many labels
        separate, together = (HostBackend(libraries(), one_block=x, backwards=backwards) for x in (False, True))
        if not problem.gradient:
            assert torch.equal(separate.forward(problem).ctc, together.forward(problem).ctc)
            continue
        (terms, gradient), (right, right_gradient) = compute(together, problem), compute(separate, problem)
        assert all(torch.equal(a.nan_to_num(-1), b.nan_to_num(-1)) for a, b in zip(terms[:3], right[:3], strict=True))
        assert torch.equal(gradient.nan_to_num(-1), right_gradient.nan_to_num(-1))


def test_what_is_too_much_for_one_block():
    for frames, classes, labels, fits in (
        (512, 128, 447, True),
        (513, 9, 9, False),
        (9, 129, 9, False),
        (9, 9, 448, False),
    ):
        batch = random_batch(0, frames=frames, classes=classes, labels=labels)
        assert passes.fits_one_block(make_problem(HostBackend, *batch)) == fits
