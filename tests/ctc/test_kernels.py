"""The compiled CPU kernels: numbers in every regime, the semantics where others go wrong, and torch's machinery."""

import subprocess
import sys

import pytest
import torch

from seqkd.ctc import cpu, ctc_loss, fused
from seqkd.ctc.problem import Problem

pytestmark = pytest.mark.skipif(not cpu.available()[0], reason=cpu.available()[1])
torch.set_num_threads(1)
INSTRUCTION_SETS = ("avx512", "avx2", "portable")


def regime(name: str, frames: int, classes: int, labels: int, seed: int = 0):
    """Logits (2, T, C) float32 of a model in some state of training, and its targets and lengths."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, frames, classes, generator=generator)
    targets = torch.randint(1, classes, (2, labels), generator=generator)
    if name == "peaked":  # trained: blank nearly everywhere, labels as spikes
        logits[..., 0] += 12
        for b in range(2):
            at = torch.linspace(1, frames - 2, labels).long()
            logits[b, at, targets[b]] += 24
    elif name == "collapsed":  # the blank always, whatever the target
        logits[..., 0] += 40
    elif name == "cold":
        logits *= 200
    return logits, targets, torch.tensor([frames, frames - frames // 3]), torch.tensor([labels, labels // 2])


def value_and_gradient(logits, *arguments, **options):
    logits = logits.clone().requires_grad_()
    losses = ctc_loss(logits, *arguments, reduction="none", **options)
    return losses.detach(), torch.autograd.grad(losses[losses.isfinite()].sum(), logits)[0]


@pytest.mark.parametrize("name", ["untrained", "peaked", "collapsed", "cold"])
@pytest.mark.parametrize("frames", [2000, 4000])
def test_gradient_error_in_float32(name, frames):
    logits, *arguments = regime(name, frames, 60, 100)
    loss, gradient = value_and_gradient(logits, *arguments, backend="cpu")
    exact, expected = value_and_gradient(logits.double(), *arguments, backend="cpu")
    # a frame whose best class is nearly certain costs less than float32 resolves beside 1
    torch.testing.assert_close(loss.double(), exact, rtol=2e-7, atol=1e-8 * frames)
    assert (gradient - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("name", ["untrained", "peaked", "collapsed", "cold"])
def test_float64_equals_the_reference(name):
    logits, *arguments = regime(name, 120, 9, 25)
    found = value_and_gradient(logits.double(), *arguments, backend="cpu")
    expected = value_and_gradient(logits.double(), *arguments, backend="reference")
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize(("frames", "labels"), [(2600, 1100), (20_000, 40), (6000, 1500)])
def test_long_targets_and_long_utterances_equal_torch_in_float64(frames, labels):
    """Also where only every so manyth frame's states are kept (lattice.h, block_length)."""
    logits, targets, input_lengths, target_lengths = regime("untrained", frames, 12, labels)
    logits = logits[:1].double().requires_grad_()
    arguments = targets[:1], input_lengths[:1], target_lengths[:1]
    expected = ctc_loss(logits, *arguments, backend="torch", reduction="sum")
    loss = ctc_loss(logits, *arguments, backend="cpu", reduction="sum")
    torch.testing.assert_close(loss, expected, rtol=1e-11, atol=0)
    # torch's own error after so many frames in the log domain is larger than ours.
    (found,), (gradient,) = torch.autograd.grad(loss, logits), torch.autograd.grad(expected, logits)
    torch.testing.assert_close(found, gradient, rtol=0, atol=1e-8)
    single = ctc_loss(logits.float(), *arguments, backend="cpu", reduction="sum")
    torch.testing.assert_close(single.double(), expected.detach(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("frames", range(1, 21))
def test_every_short_length(frames):
    """All relations of frames, labels and the width of a vector."""
    generator = torch.Generator().manual_seed(frames)
    for labels in range(frames + 2):
        logits = torch.randn(1, frames, 5, generator=generator).double()
        targets = torch.randint(0, 4, (1, max(labels, 1)), generator=generator)
        arguments = (targets, [frames], [labels])
        found = value_and_gradient(logits, *arguments, blank=4, backend="cpu")
        expected = value_and_gradient(logits, *arguments, blank=4, backend="reference")
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("classes", range(1, 70, 4))
def test_every_number_of_classes(classes):
    logits = torch.randn(2, 11, classes, generator=torch.Generator().manual_seed(classes)).double()
    targets = torch.arange(1, 5).remainder(classes).repeat(2, 1)
    lengths = [0, 0] if classes == 1 else [min(4, classes - 1), 1]
    found = value_and_gradient(logits, targets, [11, 5], lengths, backend="cpu")
    expected = value_and_gradient(logits, targets, [11, 5], lengths, backend="reference")
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-11)


def test_probabilities_too_far_apart_for_float32_are_computed_in_float64():
    logits, *arguments = regime("untrained", 40, 6, 10)
    logits *= 1e9  # gaps of 1e9 nats
    loss, gradient = value_and_gradient(logits, *arguments, backend="cpu")
    exact, expected = value_and_gradient(logits.double(), *arguments, backend="reference")
    torch.testing.assert_close(loss.double(), exact, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient.double(), expected, rtol=0, atol=1e-6)


def test_masked_classes_get_no_gradient():
    logits, *arguments = regime("untrained", 50, 8, 10)
    arguments[0] = arguments[0].clamp(max=6)
    logits[..., 7] = -torch.inf
    loss, gradient = value_and_gradient(logits, *arguments, backend="cpu")
    assert loss.isfinite().all() and gradient.isfinite().all() and (gradient[..., 7] == 0).all()
    logits[0, 20, 1:] = -torch.inf  # nothing but blank there is fine, too
    loss, gradient = value_and_gradient(logits, *arguments, backend="cpu")
    assert loss.isfinite().all() and gradient.isfinite().all()
    logits[0, :, 0] = -torch.inf  # then nothing is left of frame 20
    assert ctc_loss(logits, *arguments, backend="cpu", reduction="none").isnan().tolist() == [True, False]


def test_a_masked_label_makes_its_target_impossible():
    logits, *arguments = regime("untrained", 50, 8, 10)
    logits[0, :, arguments[0][0, 3]] = -torch.inf
    logits = logits.requires_grad_()
    losses = ctc_loss(logits, *arguments, backend="cpu", reduction="none")
    assert losses[0] == torch.inf and losses[1].isfinite()
    losses.sum().backward()
    assert (logits.grad[0] == 0).all() and (logits.grad[1] != 0).any()


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_nan_stays_in_its_utterance(poison):
    logits, *arguments = regime("untrained", 30, 8, 10)
    clean = value_and_gradient(logits, *arguments, backend="cpu")
    logits[1, 4, 2] = poison
    logits = logits.requires_grad_()
    losses = ctc_loss(logits, *arguments, backend="cpu", reduction="none")
    assert losses[1].isnan() and torch.equal(losses[0].detach(), clean[0][0])
    losses.sum().backward()
    assert torch.equal(logits.grad[0], clean[1][0])
    assert logits.grad[1, : arguments[1][1]].isnan().all() and (logits.grad[1, arguments[1][1] :] == 0).all()


def test_a_zero_coefficient_removes_an_utterance_even_if_it_is_nan():
    logits, *arguments = regime("untrained", 30, 8, 10)
    logits[1, 4, 2] = torch.nan
    logits = logits.requires_grad_()
    losses = ctc_loss(logits, *arguments, backend="cpu", reduction="none")
    (gradient,) = torch.autograd.grad(losses, logits, torch.tensor([1.0, 0.0]))
    assert gradient[0].isfinite().all() and (gradient[1] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_rest_of_the_batch_never_matters_to_the_bit(dtype):
    logits, targets, input_lengths, target_lengths = regime("peaked", 60, 37, 12)
    logits = logits.to(dtype)
    together = value_and_gradient(logits, targets, input_lengths, target_lengths, backend="cpu")
    again = value_and_gradient(logits, targets, input_lengths, target_lengths, backend="cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    threaded = value_and_gradient(logits, targets, input_lengths, target_lengths, backend="cpu")
    torch.set_num_threads(threads)
    for other in (again, threaded):
        assert torch.equal(together[0], other[0]) and torch.equal(together[1], other[1])
    for i, (n, s) in enumerate(zip(input_lengths, target_lengths, strict=True)):
        alone = value_and_gradient(logits[i : i + 1, :n], targets[i : i + 1, :s], [n], [s], backend="cpu")
        assert torch.equal(alone[0][0], together[0][i]) and torch.equal(alone[1][0], together[1][i, :n])


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_instruction_set(name, dtype, monkeypatch):
    logits, *arguments = regime("peaked", 90, 50, 30)
    logits = logits.to(dtype)
    exact, expected = value_and_gradient(logits.double(), *arguments, backend="reference")
    monkeypatch.setenv("SEQKD_CPU_KERNELS", name)
    if not cpu.available()[0]:
        pytest.skip(cpu.available()[1])
    assert cpu.kernels() == name
    loss, gradient = value_and_gradient(logits, *arguments, backend="cpu")
    torch.testing.assert_close(loss.double(), exact, rtol=1e-6, atol=5e-6)
    error = {torch.float64: 1e-12, torch.float32: 1e-6}.get(dtype, torch.finfo(dtype).eps)
    assert (gradient - expected).abs().max() <= error


def test_an_instruction_set_that_is_not_there_is_said_so(monkeypatch):
    monkeypatch.setenv("SEQKD_CPU_KERNELS", "sse9")
    with pytest.raises(ValueError, match="SEQKD_CPU_KERNELS is 'sse9', which this processor or build has not got"):
        ctc_loss(torch.zeros(1, 2, 3), [[1]], [2], [1], backend="cpu")


def test_any_strides():
    logits, *arguments = regime("untrained", 30, 8, 10)
    expected = value_and_gradient(logits, *arguments, backend="cpu")
    base = torch.zeros(30, 2, 16)
    for view in (
        logits.transpose(0, 1).contiguous().transpose(0, 1),  # time first
        logits.permute(2, 0, 1).contiguous().permute(1, 2, 0),  # classes first: a copy is made
        base[..., 3:11].copy_(logits.transpose(0, 1)).transpose(0, 1),  # rows that are not aligned
        logits.repeat_interleave(2, 0)[::2],
    ):
        assert torch.equal(view, logits)
        found = value_and_gradient(view, *arguments, backend="cpu")
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


def small_problem(gradient=True):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 3, 8, 5, generator=generator, dtype=torch.double, requires_grad=gradient)
    teacher = torch.randn(1, 3, 8, 5, generator=generator, dtype=torch.double)
    targets = torch.randint(1, 5, (3, 3), generator=generator)
    return logits, teacher, targets, torch.tensor([8, 7, 4]), torch.tensor([3, 2, 0])


@pytest.mark.parametrize("consistency", ["none", "attached", "detached"])
@pytest.mark.parametrize("distance", ["none", "squared", "kl"])
def test_torch_accepts_the_operator(distance, consistency):
    # gradients are compared elsewhere: opcheck compares dispatch, shapes, aliasing and autograd's registration
    options = (0, True, distance, 2.0, False, consistency, True, 1, False)
    results = torch.library.opcheck(torch.ops.seqkd.ctc_terms.default, (*small_problem(), *options))
    assert set(results.values()) == {"SUCCESS"}


def test_the_registered_operator_is_the_eager_one():
    inputs = small_problem()
    options = (0, True, "kl", 2.0, False, "attached", True, 1, False)
    found, expected = torch.ops.seqkd.ctc_terms(*inputs, *options)[:3], fused._Eager.apply(*inputs, *options)[:3]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    gradients = [torch.autograd.grad(sum(term.sum() for term in terms), inputs[0])[0] for terms in (found, expected)]
    assert torch.equal(*gradients)


def test_compiles_into_one_graph():
    logits, *arguments = regime("untrained", 30, 8, 10)

    def step(z):
        return ctc_loss(z * 2, *arguments, backend="cpu")

    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    a, b = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    torch.testing.assert_close(compiled(a), step(b), rtol=1e-6, atol=0)
    compiled(a).backward(), step(b).backward()
    torch.testing.assert_close(a.grad, b.grad)


def test_autocast():
    weight = torch.randn(8, 8, requires_grad=True)
    inputs, *arguments = regime("untrained", 30, 8, 10)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = inputs @ weight
        loss = ctc_loss(logits, *arguments)
    assert logits.dtype == torch.bfloat16 and loss.dtype == torch.float32
    loss.backward()
    assert weight.grad.isfinite().all() and weight.grad.abs().sum() > 0


@pytest.mark.parametrize("compiled", [False, True])
def test_a_second_derivative_is_refused_in_a_sentence(compiled):
    inputs = small_problem()
    options = (0, True, "none", 1.0, False, "none", True, 1, False)
    terms = (torch.ops.seqkd.ctc_terms if compiled else fused._Eager.apply)(*inputs, *options)
    (gradient,) = torch.autograd.grad(terms[0].sum(), inputs[0], create_graph=True)
    with pytest.raises(RuntimeError, match='no second derivative; backend="reference" has'):
        gradient.square().sum().backward()


def test_without_a_gradient_nothing_is_kept_for_it():
    logits, teacher, *arguments = small_problem(gradient=False)
    problem = Problem(logits, teacher, *arguments, 0, True, "kl", 1.0, False, "attached", gradient=False)
    terms = cpu.forward(problem)
    assert terms.rows.numel() == terms.occupancy.numel() == 0
    kept = cpu.forward(Problem(logits, teacher, *arguments, 0, True, "kl", 1.0, False, "attached", gradient=True))
    for a, b in zip(terms[:3], kept[:3], strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("backend", "sentence"),
    [
        ("cuda", 'backend "cuda" was asked for, but the logits are on the device "cpu"'),
        ("cpu", 'backend "cpu" is not available: the compiled part of seqkd is not built or is out of date; install a'),
    ],
)
def test_a_backend_that_is_not_there(backend, sentence):
    program = f"""
import seqkd.native, torch
seqkd.native.library = lambda: None
from seqkd.losses import ctc_loss
assert ctc_loss(torch.zeros(1, 2, 3), [[1]], [2], [1]).isfinite()
try:
    ctc_loss(torch.zeros(1, 2, 3), [[1]], [2], [1], backend={backend!r})
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert sentence in done.stdout
