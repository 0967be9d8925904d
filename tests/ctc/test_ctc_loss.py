"""The CTC loss against enumeration of every path, and against torch in float64."""

import itertools
from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkd.ctc import cpu, ctc_loss

torch.set_num_threads(1)
quick = settings(max_examples=30, deadline=None)
COMPILED = pytest.param("cpu", marks=pytest.mark.skipif(not cpu.available()[0], reason=cpu.available()[1]))
BACKENDS = ("torch", "reference", COMPILED)


@lru_cache
def paths_by_target(frames: int, classes: int, blank: int) -> dict[tuple[int, ...], np.ndarray]:
    """Every path of so many frames, by the target that it collapses to."""
    groups: dict[tuple[int, ...], list] = {}
    for path in itertools.product(range(classes), repeat=frames):
        merged = [label for label, _ in itertools.groupby(path)]
        groups.setdefault(tuple(c for c in merged if c != blank), []).append(path)
    return {target: np.array(paths) for target, paths in groups.items()}


def enumerated(logits: np.ndarray, target: tuple[int, ...], blank: int) -> float:
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    paths = paths_by_target(*logits.shape, blank).get(target)
    if paths is None:
        return np.inf
    return -np.log(np.exp(log_probs[np.arange(len(logits)), paths].sum(1)).sum())


@st.composite
def small_batches(draw):
    classes = draw(st.integers(2, 4))
    frames = draw(st.integers(1, 6))
    blank = draw(st.integers(0, classes - 1))
    labels = st.sampled_from([c for c in range(classes) if c != blank])
    targets = draw(st.lists(st.lists(labels, max_size=4), min_size=1, max_size=3))
    lengths = draw(st.lists(st.integers(0, frames), min_size=len(targets), max_size=len(targets)))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    scale = draw(st.sampled_from([0.1, 1.0, 5.0]))
    return scale * rng.normal(size=(len(targets), frames, classes)), targets, lengths, blank


def padded(targets, padding=-7):
    width = max(map(len, targets), default=0)
    return torch.tensor([list(t) + [padding] * (width - len(t)) for t in targets], dtype=torch.long)


@pytest.mark.parametrize("backend", BACKENDS)
@quick
@given(batch=small_batches())
def test_equals_the_sum_over_all_paths(backend, batch):
    logits, targets, lengths, blank = batch
    losses = ctc_loss(
        torch.tensor(logits),
        padded(targets),
        lengths,
        [len(t) for t in targets],
        blank=blank,
        reduction="none",
        backend=backend,
    )
    expected = [
        enumerated(z[:n], tuple(t), blank) if n else (np.inf if t else 0.0)
        for z, t, n in zip(logits, targets, lengths, strict=True)
    ]
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-9, atol=1e-12)


def random_batch(seed=0, batch=3, frames=30, classes=7, labels=8, dtype=torch.double):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, frames, classes, generator=generator, dtype=dtype)
    targets = torch.randint(1, classes, (batch, labels), generator=generator)
    input_lengths = torch.tensor([frames, frames - 3, frames - 10][:batch])
    target_lengths = torch.tensor([labels, labels - 3, 0][:batch])
    return logits, targets, input_lengths, target_lengths


def value_and_gradient(logits, *arguments, **options):
    logits = logits.clone().requires_grad_()
    loss = ctc_loss(logits, *arguments, **options)
    return loss.detach(), torch.autograd.grad(loss.sum(), logits)[0]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("form", ["padded", "joined", "lists", "int32"])
def test_equals_torch_in_float64(backend, reduction, form):
    logits, targets, input_lengths, target_lengths = random_batch()
    expected = torch.nn.functional.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1), targets, input_lengths, target_lengths, reduction=reduction
    )
    if form == "joined":
        targets = torch.cat([t[:n] for t, n in zip(targets, target_lengths, strict=True)])
    if form == "lists":
        targets, input_lengths, target_lengths = (x.tolist() for x in (targets, input_lengths, target_lengths))
    if form == "int32":
        targets, input_lengths, target_lengths = (x.int() for x in (targets, input_lengths, target_lengths))
    loss = ctc_loss(logits, targets, input_lengths, target_lengths, reduction=reduction, backend=backend)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_backends_share_value_and_gradient(backend):
    for seed in range(5):
        batch = random_batch(seed)
        expected = value_and_gradient(*batch, reduction="none", backend="torch")
        found = value_and_gradient(*batch, reduction="none", backend=backend)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradcheck(backend):
    logits, targets, input_lengths, target_lengths = random_batch(frames=12, labels=4, classes=4)
    input_lengths = input_lengths.clamp(max=11)
    torch.autograd.gradcheck(
        lambda z: ctc_loss(z, targets, input_lengths, target_lengths, reduction="none", backend=backend),
        logits.requires_grad_(),
    )


def test_gradient_is_the_true_one_through_the_softmax():
    _, gradient = value_and_gradient(*random_batch())
    torch.testing.assert_close(gradient.sum(-1), torch.zeros(3, 30).double(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_padding_never_matters(backend, garbage):
    logits, targets, input_lengths, target_lengths = random_batch()
    clean = value_and_gradient(logits, targets, input_lengths, target_lengths, reduction="none", backend=backend)
    dirty_logits, dirty_targets = logits.clone(), targets.clone()
    for i in range(3):
        dirty_logits[i, input_lengths[i] :] = garbage
        dirty_targets[i, target_lengths[i] :] = 1000
    dirty = value_and_gradient(
        dirty_logits, dirty_targets, input_lengths, target_lengths, reduction="none", backend=backend
    )
    assert torch.equal(clean[0], dirty[0]) and torch.equal(clean[1], dirty[1])
    assert all((dirty[1][i, n:] == 0).all() for i, n in enumerate(input_lengths))


def test_each_utterance_alone_gives_the_same():
    logits, targets, input_lengths, target_lengths = random_batch()
    together = ctc_loss(logits, targets, input_lengths, target_lengths, reduction="none")
    for i, (n, s) in enumerate(zip(input_lengths, target_lengths, strict=True)):
        alone = ctc_loss(logits[i : i + 1, :n], targets[i : i + 1, :s], [n], [s], reduction="none")
        torch.testing.assert_close(alone[0], together[i], rtol=1e-12, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_target_that_cannot_be_aligned(backend):
    logits = torch.randn(2, 3, 4, dtype=torch.double)
    arguments = ([[1, 1], [1, 2]], [2, 3], [2, 2])
    losses = ctc_loss(logits, *arguments, reduction="none", backend=backend)
    assert losses[0] == torch.inf and losses[1].isfinite()
    losses, gradient = value_and_gradient(logits, *arguments, reduction="none", backend=backend)
    assert losses[0] == torch.inf and (gradient[0] == 0).all() and (gradient[1] != 0).any()
    losses, gradient = value_and_gradient(logits, *arguments, reduction="none", backend=backend, zero_infinity=True)
    assert losses[0] == 0 and (gradient[0] == 0).all() and (gradient[1] != 0).any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_batches_frames_and_targets(backend):
    options = {"reduction": "none", "backend": backend}
    assert ctc_loss(torch.zeros(0, 5, 3), [], [], [], **options).shape == (0,)
    assert ctc_loss(torch.zeros(0, 5, 3), [], [], [], backend=backend) == 0
    assert ctc_loss(torch.zeros(2, 0, 3), [1], [0, 0], [0, 1], **options).tolist() == [0, torch.inf]
    assert ctc_loss(torch.zeros(2, 4, 3), [], [4, 2], [0, 0], **options).tolist() == pytest.approx(
        [4 * np.log(3), 2 * np.log(3)]
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_masked_classes_and_contained_nan(backend):
    logits, targets, input_lengths, target_lengths = random_batch()
    targets = targets.clamp(max=5)
    logits[:, :, 6] = -torch.inf
    losses, gradient = value_and_gradient(
        logits, targets, input_lengths, target_lengths, reduction="none", backend=backend
    )
    assert losses.isfinite().all() and gradient.isfinite().all() and (gradient[..., 6] == 0).all()
    logits[1, 0, 0] = torch.nan
    losses, gradient = value_and_gradient(
        logits, targets, input_lengths, target_lengths, reduction="none", backend=backend
    )
    assert losses.isnan().tolist() == [False, True, False] and gradient[[0, 2]].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    logits, *arguments = random_batch(dtype=torch.float32)
    half = logits.to(dtype)
    loss, gradient = value_and_gradient(half, *arguments, reduction="none")
    assert loss.dtype == torch.float32 and gradient.dtype == dtype
    assert torch.equal(loss, ctc_loss(half.float(), *arguments, reduction="none"))


def test_dtypes_of_the_result():
    logits, *arguments = random_batch(dtype=torch.float32)
    assert ctc_loss(logits, *arguments).dtype == torch.float32
    assert ctc_loss(logits, *arguments, backend="reference").dtype == torch.float64
    assert ctc_loss(logits.double(), *arguments).dtype == torch.float64


@quick
@given(st.integers(0, 1000), st.floats(-20, 20))
def test_adding_a_constant_to_a_frame_changes_nothing(seed, constant):
    logits, *arguments = random_batch(seed)
    torch.testing.assert_close(
        ctc_loss(logits + constant, *arguments), ctc_loss(logits, *arguments), rtol=1e-9, atol=1e-9
    )


def test_labels_that_are_not_checked_make_only_their_utterance_nan():
    logits, targets, input_lengths, target_lengths = random_batch()
    bad = targets.clone()
    bad[1, 2] = 10**9  # far enough out of bounds to end the process
    losses, gradient = value_and_gradient(logits, bad, input_lengths, target_lengths, reduction="none", validate=False)
    assert losses.isnan().tolist() == [False, True, False]
    assert gradient[1, : input_lengths[1]].isnan().all() and gradient[[0, 2]].isfinite().all()


FAULTS = [
    (
        {"logits": torch.zeros(5)},
        r"logits must be a floating-point tensor \(B, T, C\), got shape \(5,\)",
    ),
    ({"logits": torch.zeros(2, 5, 3).int()}, "logits must be a floating-point tensor .* of torch.int32"),
    ({"blank": 3}, r"blank must be in \[0, 3\), got 3"),
    ({"input_lengths": [5, 6]}, r"utterance 1: input length 6 is outside \[0, T = 5\]"),
    ({"input_lengths": [-1, 5]}, r"utterance 0: input length -1 is outside"),
    ({"input_lengths": [5]}, r"input_lengths must have 2 entries, one an utterance, got \(1,\)"),
    ({"input_lengths": [0.5, 1.0]}, "input_lengths must be integers, got torch.float32"),
    ({"target_lengths": [1, 3]}, r"utterance 1: target length 3 is outside \[0, S = 2\]"),
    ({"target_lengths": [1]}, "target_lengths must have 2 entries"),
    ({"targets": [[1, 2], [3, 1]]}, r"utterance 1: target 3 at position 0 is outside \[0, 3\)"),
    ({"targets": [[1, -1], [1, 1]]}, r"utterance 0: target -1 at position 1 is outside \[0, 3\)"),
    ({"targets": [[1, 2], [1, 0]]}, "utterance 1: target 0 at position 1 is the blank"),
    ({"targets": [1, 2, 1]}, "targets hold 3 labels, but target_lengths add up to 4"),
    ({"targets": [[1, 2]]}, r"targets must be \(2, S\) padded or 1-D with all targets joined, got \(1, 2\)"),
    ({"targets": [[1.0, 2.0], [1.0, 2.0]]}, "targets must be integers"),
    ({"reduction": "average"}, "reduction must be one of 'mean', 'sum', 'none', 'batchmean', got 'average'"),
    ({"backend": "cudnn"}, "backend must be one of 'auto', 'cpu', 'cuda', 'torch', 'reference', got 'cudnn'"),
]


@pytest.mark.parametrize(("change", "sentence"), FAULTS)
def test_a_fault_is_one_sentence(change, sentence):
    arguments = {
        "logits": torch.zeros(2, 5, 3),
        "targets": [[1, 2], [2, 1]],
        "input_lengths": [5, 5],
        "target_lengths": [2, 2],
    }
    with pytest.raises(ValueError, match=sentence):
        ctc_loss(**{**arguments, **change})
