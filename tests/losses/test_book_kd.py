"""BookKD (Knowledge-Based Systems 2023, 10.1016/j.knosys.2023.110916) and sparse targets.

Distributions written out by hand, gradients, padding.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from seqkd.losses import ctc_kd_loss
from seqkd.losses.book_kd import book_kd_loss
from seqkd.losses.sparse import (
    TAILS,
    SparsePosteriors,
    densify,
    entropy_of,
    sparse_ctc_kd_loss,
    sparse_kd_loss,
)
from tests.losses.test_label_smoothing import IGNORED, make, total_and_gradient

PUBLISHED = torch.tensor([0.5, 0.3, 0.1, 0.1], dtype=torch.float64)


def top(probs, k):
    """The k greatest of (..., C) and the tail."""
    kept = probs.topk(k)
    return SparsePosteriors(kept.indices, kept.values, (1 - kept.values.sum(-1)).clamp_min(0))


def ragged(book, seed=0):
    """The same, where a third of the kept classes have gone to the tail and left a hole, but for the greatest."""
    gone = torch.rand(book.probs.shape, generator=torch.Generator().manual_seed(seed)) < 1 / 3
    gone[..., 0] = False
    tail = book.tail + (book.probs * gone).sum(-1)
    garbage = torch.full_like(book.probs, 7.0)
    return SparsePosteriors(book.classes.masked_fill(gone, -1), torch.where(gone, garbage, book.probs), tail)


def written_out(book, p, tail):
    """KL of one position with loops: lists of kept (class, probability), the tail's mass, the student's p (C,)."""
    kept = {c: t for c, t in zip(book.classes.tolist(), book.probs.tolist(), strict=True) if c >= 0}
    mass, others = float(book.tail), [c for c in range(len(p)) if c not in kept]
    mass = mass if others else 0.0  # rounding
    if tail == "renormalise":
        total = sum(kept.values())
        kept, mass = {c: t / total for c, t in kept.items()}, 0.0
    value = sum(t * math.log(t / p[c]) for c, t in kept.items() if t > 0)
    if mass > 0 and tail == "spread":
        value += sum(mass / len(others) * math.log(mass / len(others) / p[c]) for c in others)
    if mass > 0 and tail == "ghost":
        value += mass * math.log(mass / sum(p[c] for c in others))
    return value


# The published numbers.


def test_top_two_renormalised():
    dense = densify(top(PUBLISHED, 2), 4, "renormalise")
    torch.testing.assert_close(dense, torch.tensor([0.625, 0.375, 0, 0], dtype=torch.float64))
    logits = torch.zeros(1, 1, 4, dtype=torch.float64)
    _, gradient = total_and_gradient(
        lambda z: Result(sparse_kd_loss(z, top(PUBLISHED[None, None], 2), tail="renormalise")), logits
    )
    torch.testing.assert_close(gradient[0, 0], 0.25 - dense)


class Result:
    def __init__(self, total):
        self.total = total


def test_the_ghost_term():
    p = torch.tensor([0.4, 0.35, 0.2, 0.05], dtype=torch.float64)
    found = sparse_kd_loss(p.log()[None, None], top(PUBLISHED[None, None], 2), tail="ghost")
    expected = 0.5 * math.log(0.5 / 0.4) + 0.3 * math.log(0.3 / 0.35) + 0.2 * math.log(0.2 / 0.25)
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_counts_teach_the_posterior_on_average():
    draws, books = 50, 4000
    generator = np.random.default_rng(0)
    counts = torch.from_numpy(generator.multinomial(draws, PUBLISHED.numpy(), size=books))
    book = SparsePosteriors.of_counts(torch.arange(4).expand(1, books, 4), counts[None])
    logits = torch.randn(1, 1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    _, gradient = total_and_gradient(
        lambda z: Result(sparse_kd_loss(z, book, reduction="mean")), logits.expand(1, books, 4)
    )
    found = gradient.sum(1)[0]
    expected = logits.softmax(-1)[0, 0] - PUBLISHED
    deviation = (PUBLISHED * (1 - PUBLISHED) / (draws * books)).sqrt()
    assert ((found - expected).abs() < 4 * deviation).all()


# Against distributions written out.


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    classes=st.integers(2, 9),
    kept=st.integers(1, 9),
    temperature=st.sampled_from([0.5, 1.0, 3.0]),
    tail=st.sampled_from(TAILS),
    holes=st.booleans(),
)
def test_sparse_is_what_is_written_out(seed, classes, kept, temperature, tail, holes):
    logits, teacher, targets = make(seed, classes=classes)
    book = top(teacher.softmax(-1), min(kept, classes))
    book = ragged(book, seed) if holes else book
    p = (logits / temperature).softmax(-1).tolist()
    found = sparse_kd_loss(logits, book, valid=targets != IGNORED, temperature=temperature, tail=tail, reduction="none")
    for b, s in np.ndindex(*targets.shape):
        one = book.map(lambda x, b=b, s=s: x[b, s])
        expected = 0.0 if targets[b, s] == IGNORED else temperature**2 * written_out(one, p[b][s], tail)
        assert found[b, s].item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    options = {"valid": targets != IGNORED, "temperature": temperature, "tail": tail}
    total = found.sum()
    torch.testing.assert_close(sparse_kd_loss(logits, book, reduction="sum", **options), total)
    torch.testing.assert_close(sparse_kd_loss(logits, book, reduction="batchmean", **options), total / len(logits))
    valid = max(int((targets != IGNORED).sum()), 1)
    torch.testing.assert_close(sparse_kd_loss(logits, book, **options), total / valid)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    classes=st.integers(2, 9),
    kd_weight=st.sampled_from([0.0, 0.7, 2.0]),
    temperature=st.sampled_from([0.5, 1.0, 3.0]),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    regularisation=st.sampled_from([0.0, 0.2, 1.0]),
    adjust=st.booleans(),
)
def test_book_kd_is_the_formula(seed, classes, kd_weight, temperature, smoothing, regularisation, adjust):
    logits, teacher, targets = make(seed, classes=classes, ignored=0)
    book = (teacher / temperature).log_softmax(-1)
    z, y = logits.flatten(0, 1).numpy(), targets.flatten().numpy()
    b = (1 - regularisation) * book.exp().flatten(0, 1).numpy() + regularisation * np.eye(classes)[y]
    with np.errstate(divide="ignore", invalid="ignore"):
        b_log_b = np.where(b > 0, b * np.log(b), 0.0)
    entropy = -b_log_b.sum(-1)
    w = 1 - entropy / math.log(classes) if adjust else np.ones(len(b))
    scaled = z / temperature - np.log(np.exp(z / temperature).sum(-1, keepdims=True))
    kd = w * temperature**2 * (b_log_b - b * scaled).sum(-1)
    hard = F.cross_entropy(torch.tensor(z), torch.tensor(y), label_smoothing=smoothing).item()
    options = {"smoothing": smoothing, "regularisation": regularisation, "adjust": adjust}
    found = book_kd_loss(logits, targets, book, kd_weight=kd_weight, temperature=temperature, **options)
    assert found.total.item() == pytest.approx(hard + kd_weight * kd.mean(), rel=1e-9)
    assert found.terms["hard"].item() == pytest.approx(hard, rel=1e-9)
    if kd_weight:
        assert found.terms["kd"].item() == pytest.approx(kd.mean(), rel=1e-9, abs=1e-12)
        assert found.terms["weight"].item() == pytest.approx(w.mean(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_sparse_book_of_all_classes_is_the_dense_one(temperature):
    logits, teacher, targets = make()
    dense = (teacher / temperature).log_softmax(-1)
    for tail in TAILS:
        options = {"kd_weight": 1.5, "temperature": temperature, "tail": tail}
        expected, gradient = total_and_gradient(lambda z, o=options: book_kd_loss(z, targets, dense, **o), logits)
        found, sparse = total_and_gradient(
            lambda z, o=options: book_kd_loss(z, targets, top(dense.exp(), 6), **o), logits
        )
        torch.testing.assert_close(found.total, expected.total)
        torch.testing.assert_close(sparse, gradient)


def test_spread_is_the_dense_target_it_stands_for():
    logits, teacher, targets = make()
    book = ragged(top(teacher.softmax(-1), 4))
    dense = densify(book, 6)
    torch.testing.assert_close(dense.sum(-1), torch.ones_like(book.tail))
    torch.testing.assert_close(entropy_of(book, 6), torch.special.entr(dense).sum(-1))
    found = total_and_gradient(lambda z: book_kd_loss(z, targets, book, kd_weight=1.0), logits)
    expected = total_and_gradient(lambda z: book_kd_loss(z, targets, dense.log(), kd_weight=1.0), logits)
    torch.testing.assert_close(found[0].total, expected[0].total)
    torch.testing.assert_close(found[1], expected[1])


def test_the_weight_of_a_sparse_book_is_that_of_the_stored_entropy():
    logits, teacher, targets = make()
    entropy = torch.special.entr(teacher.softmax(-1)).sum(-1)
    cut = top(teacher.softmax(-1), 2)
    known = SparsePosteriors(cut.classes, cut.probs, cut.tail, entropy)
    whole = book_kd_loss(logits, targets, teacher.log_softmax(-1), kd_weight=1.0)
    found = book_kd_loss(logits, targets, known, kd_weight=1.0)
    torch.testing.assert_close(found.terms["weight"], whole.terms["weight"])
    assert found.terms["kd"] != whole.terms["kd"]


def test_an_unsure_book_is_not_heard_and_a_sure_one_wholly():
    logits, _, targets = make(ignored=0)
    uniform = torch.zeros_like(logits)
    sure = torch.full_like(logits, -math.inf).index_fill(-1, torch.tensor([2]), 0.0)
    assert book_kd_loss(logits, targets, uniform, kd_weight=1.0).terms["kd"].abs() < 1e-15
    found = book_kd_loss(logits, targets, sure, kd_weight=1.0, smoothing=0.0)
    assert found.terms["weight"] == 1
    torch.testing.assert_close(found.terms["kd"], -logits.log_softmax(-1)[..., 2].mean())


# What holds for every loss.


LOSSES = {
    "dense": lambda z, q, y, **o: book_kd_loss(z, y, q, kd_weight=0.7, temperature=2.0, regularisation=0.1, **o),
    **{
        tail: lambda z, q, y, tail=tail, **o: book_kd_loss(z, y, cut(q), kd_weight=0.7, tail=tail, **o)
        for tail in TAILS
    },
}


def cut(logits):
    """Kept classes of (B, S, C); garbage gives garbage."""
    kept = logits.softmax(-1).topk(3)
    return SparsePosteriors(kept.indices, kept.values, 1 - kept.values.sum(-1))


@pytest.fixture(params=LOSSES)
def loss(request):
    return LOSSES[request.param]


def test_what_is_ignored_never_matters(loss):
    logits, teacher, targets = make()
    clean, gradient = total_and_gradient(loss, logits, teacher, targets)
    valid = targets != IGNORED
    for garbage in (math.nan, math.inf, 1e30):
        z, q = (x.masked_fill(~valid[..., None], garbage) for x in (logits, teacher))
        for reduction in ("mean", "sum", "none"):
            expected = loss(logits, teacher, targets, reduction=reduction)
            found = loss(z, q, targets, reduction=reduction)
            assert found.total.equal(expected.total)
            assert all(found.terms[name].equal(term) for name, term in expected.terms.items())
        dirty, dirty_gradient = total_and_gradient(loss, z, q, targets)
        assert dirty.total.equal(clean.total) and dirty_gradient.equal(gradient)
        assert (dirty_gradient[~valid] == 0).all()


def test_padding_a_batch_changes_nothing(loss):
    logits, teacher, targets = make()
    longer = [F.pad(x, (0, 0, 0, 3), value=math.nan) for x in (logits, teacher)]
    padded = F.pad(targets, (0, 3), value=IGNORED)
    assert loss(*longer, padded).total.equal(loss(logits, teacher, targets).total)


def test_gradcheck(loss):
    logits, teacher, targets = make(batch=2, positions=3, classes=5)
    assert torch.autograd.gradcheck(lambda z: loss(z, teacher, targets).total, logits.requires_grad_())


def test_the_book_gets_no_gradient_and_half_precision_is_computed_in_single(loss):
    logits, teacher, targets = make()
    teacher.requires_grad_()
    loss(logits.requires_grad_(), teacher, targets).total.backward()
    assert teacher.grad is None and logits.grad is not None
    half = loss(logits.half(), teacher, targets).total
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss(logits.half().float(), teacher, targets).total)


def test_a_weight_of_zero_is_cross_entropy():
    logits, teacher, targets = make()
    broken = torch.full_like(teacher, math.nan)
    found = book_kd_loss(logits, targets, broken, kd_weight=0.0, smoothing=0.0)
    assert found.terms.keys() == {"hard"} and found.total.equal(found.terms["hard"])
    torch.testing.assert_close(found.total, F.cross_entropy(logits.flatten(0, 1), targets.flatten()))


def test_a_class_the_student_cannot_say():
    # -inf in the logits: no NaN where the book says nothing of that class.
    logits = torch.tensor([[[0.3, -0.2, -math.inf]]], dtype=torch.float64)
    book = SparsePosteriors(torch.tensor([[[0, 1]]]), torch.tensor([[[0.6, 0.4]]]), torch.zeros(1, 1))
    for tail in TAILS:
        _, gradient = total_and_gradient(lambda z, t=tail: Result(sparse_kd_loss(z, book, tail=t)), logits)
        expected = logits.softmax(-1)[0, 0] - torch.tensor([0.6, 0.4, 0.0])
        torch.testing.assert_close(gradient[0, 0], expected, atol=1e-7, rtol=0)


# Beside CTC.


def test_beside_ctc_it_is_the_dense_loss(batch):
    common = (batch.targets, batch.input_lengths, batch.target_lengths)
    for temperature in (1.0, 2.0):
        book = top((batch.teacher / temperature).softmax(-1), batch.teacher.shape[-1])
        options = {"kd_weight": 0.7, "temperature": temperature}
        for reduction in ("none", "sum", "mean"):
            expected, wanted = total_and_gradient(
                lambda z, o=options, r=reduction: ctc_kd_loss(
                    z, batch.teacher, *common, distance="kl", reduction=r, backend="torch", **o
                ),
                batch.student[0],
            )
            found, gradient = total_and_gradient(
                lambda z, o=options, r=reduction, k=book: sparse_ctc_kd_loss(z, k, *common, reduction=r, **o),
                batch.student[0],
            )
            torch.testing.assert_close(found.total, expected.total)
            torch.testing.assert_close(found.terms["kd"], expected.terms["kd"])
            torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize("tail", TAILS)
def test_padded_frames_never_matter(batch, tail):
    common = (batch.targets, batch.input_lengths, batch.target_lengths)
    book = top(batch.teacher.softmax(-1), 2)
    padded = torch.arange(batch.student.shape[2])[None] >= batch.input_lengths[:, None]
    dirty = SparsePosteriors(
        book.classes.masked_fill(padded[..., None], 10**6),
        book.probs.masked_fill(padded[..., None], math.nan),
        book.tail.masked_fill(padded, math.nan),
    )
    options = {"kd_weight": 0.7, "tail": tail, "adjust": True, "reduction": "none"}
    clean = sparse_ctc_kd_loss(batch.student[0], book, *common, **options)
    z = batch.student[0].masked_fill(padded[..., None], math.nan)
    found, gradient = total_and_gradient(lambda z: sparse_ctc_kd_loss(z, dirty, *common, **options), z)
    assert found.total.equal(clean.total) and (gradient[padded] == 0).all() and gradient.isfinite().all()
    alone = batch.one(1)
    one = sparse_ctc_kd_loss(
        alone.student[0],
        book.map(lambda x: x[1:2, : alone.student.shape[2]]),
        *(alone.targets, alone.input_lengths, alone.target_lengths),
        **options,
    )
    torch.testing.assert_close(one.total[0], clean.total[1])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"temperature": 0.0}, "temperature must be finite and positive, got 0.0"),
        ({"tail": "cut"}, "tail must be one of 'spread', 'ghost', 'renormalise', got 'cut'"),
        ({"smoothing": 1.5}, r"smoothing must be in \[0, 1\], got 1.5"),
        ({"kd_weight": -1.0}, "kd_weight must be finite and not negative, got -1.0"),
        ({"regularisation": 0.1}, "regularisation must be 0 for a sparse book"),
    ],
)
def test_a_fault_is_one_sentence(change, sentence):
    logits, teacher, targets = make()
    with pytest.raises(ValueError, match=sentence):
        book_kd_loss(logits, targets, top(teacher.softmax(-1), 2), **{"kd_weight": 1.0} | change)


def test_faults_of_shapes_and_classes():
    logits, teacher, targets = make()
    book = top(teacher.softmax(-1), 2)
    with pytest.raises(ValueError, match=r"book.classes must be integers \(B, S, K\) with \(B, S\) = \(3, 4\)"):
        sparse_kd_loss(logits[:, :4], book)
    with pytest.raises(ValueError, match=r"book \(3, 4, 6\) and logits \(3, 5, 6\) must have the same"):
        book_kd_loss(logits, targets, teacher[:, :4], kd_weight=1.0)
    with pytest.raises(ValueError, match="another vocabulary"):
        sparse_kd_loss(logits[..., :2], book)
    with pytest.raises(ValueError, match=r"valid must be bool \(B, S\) = \(3, 5\), got \(3, 4\)"):
        sparse_kd_loss(logits, book, valid=torch.ones(3, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"book.tail must be \(B, S\) = \(3, 5\), got \(3, 4\)"):
        sparse_kd_loss(logits, SparsePosteriors(book.classes, book.probs, book.tail[:, :4]))


def test_a_kept_class_of_no_probability_that_the_student_masks():
    book = SparsePosteriors(torch.tensor([[[0, 1]]]), torch.tensor([[[0.7, 0.0]]]), torch.tensor([[0.3]]))
    logits = torch.tensor([[[0.5, -torch.inf, 0.1, -0.3]]], requires_grad=True)
    for tail in TAILS:
        loss = sparse_kd_loss(logits, book, tail=tail)
        p = logits.detach()[0, 0].softmax(-1).tolist()
        assert loss.item() == pytest.approx(written_out(book.map(lambda x: x[0, 0]), p, tail), rel=1e-5)
        assert torch.autograd.grad(loss, logits)[0].isfinite().all()
