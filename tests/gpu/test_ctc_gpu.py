"""The CUDA kernels on a GPU."""

from __future__ import annotations

import pytest
import torch

from seqkd.ctc import cuda
from seqkd.ctc.cuda import passes
from tests.gpu.suite import KernelSuite, compute, make_problem, random_batch

fine, why = cuda.available()
pytestmark = pytest.mark.skipif(not fine, reason=why)


class Gpu:
    """:mod:`seqkd.ctc.cuda` as it is."""

    device = torch.device("cuda", torch.cuda.current_device()) if fine else torch.device("cpu")
    forward = staticmethod(cuda.forward)
    backward = staticmethod(cuda.backward)

    def raise_fault(self):
        torch.cuda.synchronize()
        cuda.raise_earlier_fault(cuda._fault(self.device))


@pytest.fixture
def backend():
    return Gpu()


class TestKernels(KernelSuite):
    pass


class TestSeparateKernels(KernelSuite):
    """Where an utterance would be work for one block, too."""

    @pytest.fixture(autouse=True)
    def never_one_block(self, monkeypatch):
        monkeypatch.setattr(passes, "fits_one_block", lambda problem: False)


def test_one_block_gives_the_same_bits_as_separate_kernels(backend, monkeypatch):
    for passes_, classes, labels in ((1, 5, 3), (2, 20, 31), (1, 32, 80), (2, 128, 440)):
        problem = make_problem(backend, *random_batch(0, passes=passes_, classes=classes, labels=labels, frames=500))
        assert passes.fits_one_block(problem)
        together = compute(backend, problem)
        with monkeypatch.context() as patch:
            patch.setattr(passes, "fits_one_block", lambda problem: False)
            separate = compute(backend, problem)
        assert torch.equal(together[0].ctc, separate[0].ctc) and torch.equal(together[1], separate[1])


@pytest.mark.parametrize("logits_type", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("teacher_type", [torch.float32, torch.bfloat16])
def test_half_precision_is_computed_in_float32(backend, logits_type, teacher_type):
    logits, *rest = random_batch(0, passes=2, classes=12)
    logits, teacher = logits.to(logits_type), torch.randn(1, 3, 30, 12).to(teacher_type)
    options = {"distance": "kl", "consistency": "attached", "temperature": 2.0}
    terms, gradient = compute(backend, make_problem(backend, logits, *rest, teacher=teacher, **options))
    in_float = make_problem(backend, logits.float(), *rest, teacher=teacher.float(), **options)
    right, right_gradient = compute(backend, in_float)
    assert all(torch.equal(a, b) for a, b in zip(terms[:3], right[:3], strict=True))
    assert gradient.dtype == logits_type and torch.equal(gradient, right_gradient.to(logits_type))


def test_does_not_wait_for_the_gpu(backend):
    problem = make_problem(backend, *random_batch(0))
    weights = [torch.ones(s, device=backend.device) for s in ((1, 3), (1, 3), (3,))]
    backend.backward(problem, backend.forward(problem), *weights)  # compiles
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        torch.cuda._sleep(200_000_000)
        slept = torch.cuda.Event()
        slept.record()
        terms = backend.forward(problem)
        backend.backward(problem, terms, *weights)
        assert not slept.query(), "the call came back only after the work before it"
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_runs_on_the_current_stream(backend):
    problem = make_problem(backend, *random_batch(0, batch=3, frames=200))
    right, _ = compute(backend, problem)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    logits = problem.logits.clone()
    problem.logits.zero_()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(100_000_000)
        problem.logits.copy_(logits, non_blocking=True)
        terms = backend.forward(problem)
    stream.synchronize()
    assert torch.equal(terms.ctc.cpu(), right.ctc)


def test_a_bad_label_surfaces_at_the_next_call(backend):
    logits, targets, *lengths = random_batch(0)
    bad = targets.clone()
    bad[2, 1] = 99
    terms = backend.forward(make_problem(backend, logits, bad, *lengths, check_labels=True))
    assert terms.ctc[0].isnan().tolist() == [False, False, True]
    torch.cuda.synchronize()
    with pytest.raises(ValueError, match="utterance 2: target 99 at position 1"):
        backend.forward(make_problem(backend, logits, targets, *lengths))
    assert backend.forward(make_problem(backend, logits, targets, *lengths)).ctc.isfinite().all()


def test_refuses_what_it_does_not_compute(backend):
    logits, targets, *lengths = random_batch(0)
    with pytest.raises(ValueError, match=r"do not take torch\.float64"):
        backend.forward(make_problem(backend, logits.double(), targets, *lengths))
    with pytest.raises(ValueError, match=f"up to {passes.MAX_LABELS} labels"):
        backend.forward(make_problem(backend, logits, targets[:, :1].expand(-1, passes.MAX_LABELS + 1), *lengths))
    host = make_problem(type("Host", (), {"device": torch.device("cpu")}), logits, targets, *lengths)
    with pytest.raises(ValueError, match="need logits on a GPU, not on cpu"):
        backend.forward(host)
