"""What goes wrong with CTC losses elsewhere, each on every backend."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkd.ctc import cpu, ctc_loss
from seqkd.ctc.fused import choose_backend

torch.set_num_threads(1)
BACKENDS = ["torch", "reference", *(["cpu"] if cpu.available()[0] else [])]


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


def batch(dtype=torch.float32):
    logits = torch.randn(3, 50, 7, generator=torch.Generator().manual_seed(0), dtype=torch.double).to(dtype)
    return logits, np.array([[1, 2, 2, 4], [3, 1, 5, 0], [6, 0, 0, 0]]), np.array([50, 40, 30]), np.array([4, 3, 1])


def gradient_after(backend, change, kind=torch.from_numpy, reduction="mean"):
    logits, *arrays = batch()
    given = [kind(array) for array in arrays]
    z = logits.requires_grad_()
    loss = ctc_loss(z, *given, backend=backend, reduction=reduction)
    for array in arrays:
        change(array)
    return torch.autograd.grad(loss, z)[0]


@settings(max_examples=20, deadline=None)
@given(
    backend=st.sampled_from(BACKENDS),
    value=st.sampled_from([-(2**40), -1, 0, 1, 3, 20, 10**6, 2**33]),
    kind=st.sampled_from([torch.from_numpy, lambda x: x, lambda x: torch.from_numpy(x.astype(np.int32))]),
    reduction=st.sampled_from(["sum", "mean", "batchmean"]),
)
def test_whatever_becomes_of_lengths_and_targets_the_gradient_is_that_of_the_forward(backend, value, kind, reduction):
    expected = gradient_after(backend, lambda _: None, kind, reduction)
    found = gradient_after(backend, lambda array: array.fill(value), kind, reduction)
    assert torch.equal(found, expected)


def test_lengths_changed_in_place_by_torch(backend):
    logits, *arrays = batch()
    given = [torch.from_numpy(array) for array in arrays]
    z = logits.requires_grad_()
    loss = ctc_loss(z, *given, backend=backend)
    given[1].sub_(1), given[2].sub_(1), given[0].add_(1)
    (found,) = torch.autograd.grad(loss, z)
    assert torch.equal(found, gradient_after(backend, lambda _: None))


def test_lengths_and_targets_made_in_inference_mode(backend):
    logits, *arrays = batch()
    with torch.inference_mode():
        given = [torch.tensor(array) for array in arrays]
    z = logits.requires_grad_()
    (found,) = torch.autograd.grad(ctc_loss(z, *given, backend=backend), z)
    assert torch.equal(found, gradient_after(backend, lambda _: None))
    with torch.inference_mode():
        assert ctc_loss(logits.detach().clone(), *given, backend=backend).isfinite()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_masked_classes_leave_the_gradient_as_it_is(backend, dtype):
    logits, targets, *lengths = batch(dtype)
    masked = torch.cat([logits, torch.full((3, 50, 1), -torch.inf, dtype=dtype)], -1)
    found, expected = (z.clone().requires_grad_() for z in (masked, logits))
    ctc_loss(found, targets, *lengths, backend=backend).backward()
    ctc_loss(expected, targets, *lengths, backend=backend).backward()
    torch.testing.assert_close(found.grad[..., :7], expected.grad)
    assert (found.grad[..., 7] == 0).all()


def test_a_label_masked_on_some_frames(backend):
    logits, targets, *lengths = batch(torch.float64)
    logits[0, 10:20, 2] = -torch.inf
    z = logits.requires_grad_()
    ctc_loss(z, targets, *lengths, backend=backend).backward()
    y = logits.detach().masked_fill(logits.isneginf(), -1e4).requires_grad_()
    ctc_loss(y, targets, *lengths, backend="reference").backward()
    torch.testing.assert_close(z.grad, y.grad)


def test_too_few_frames_give_inf_and_no_gradient_beside_others(backend):
    logits, targets, *lengths = batch()
    lengths[0][0] = 4  # four labels, of which two are the same, need five
    z = logits.requires_grad_()
    losses = ctc_loss(z, targets, *lengths, backend=backend, reduction="none")
    losses.sum().backward()
    assert losses.isinf().tolist() == [True, False, False]
    assert (z.grad[0] == 0).all() and z.grad.isfinite().all() and (z.grad[1] != 0).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_loss_is_never_negative(backend, dtype):
    for sure in (8.0, 12.0, 17.0, 30.0, 90.0):
        logits = torch.tensor([[[0.0, sure]] * 2], dtype=dtype, requires_grad=True)
        loss = ctc_loss(logits, [[1]], [2], [1], backend=backend)
        assert 0 <= loss < 1e-3
        loss.backward()
        assert logits.grad.isfinite().all()


@settings(max_examples=30, deadline=None)
@given(backend=st.sampled_from(BACKENDS), seed=st.integers(0, 10**6), scale=st.sampled_from([1.0, 10.0, 100.0]))
def test_no_loss_of_sure_models_is_negative(backend, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(8, 6, 3, generator=generator)
    best = logits.argmax(-1)
    targets = [[int(c) for i, c in enumerate(row) if c and (i == 0 or c != row[i - 1])] for row in best.tolist()]
    losses = ctc_loss(logits, targets, [6] * 8, [len(t) for t in targets], reduction="none", backend=backend)
    assert (losses >= 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_logits_with_classes_before_frames(backend, dtype):
    logits, targets, *lengths = batch(dtype)
    turned = logits.transpose(1, 2).contiguous().transpose(1, 2)
    assert turned.stride(-1) != 1
    found, expected = (z.detach().requires_grad_() for z in (turned, logits))
    ctc_loss(found, targets, *lengths, backend=backend).backward()
    ctc_loss(expected, targets, *lengths, backend=backend).backward()
    assert torch.equal(found.grad, expected.grad)


def test_log_probabilities_do_no_harm(backend):
    logits, targets, *lengths = batch(torch.float64)
    torch.testing.assert_close(
        ctc_loss(logits.log_softmax(-1), targets, *lengths, backend=backend),
        ctc_loss(logits, targets, *lengths, backend=backend),
    )


def test_logits_of_other_devices_are_for_the_cpus_kernels():
    wanted = "cpu" if cpu.available()[0] else "torch"
    assert choose_backend("auto", torch.empty(1, 2, 3, device="meta")) == wanted
    with pytest.raises(ValueError, match='backend "cuda" was asked for, but the logits are on the device "meta"'):
        choose_backend("cuda", torch.empty(1, 2, 3, device="meta"))
