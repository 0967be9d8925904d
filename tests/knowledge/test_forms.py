"""What the forms keep of a posterior, against live teachers and closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkd.errors import ConfigError
from seqkd.knowledge import BookWriter, Dense, Sampled, TopK
from seqkd.losses import ctc_kd_loss
from seqkd.losses.sparse import sparse_ctc_kd_loss, sparse_kd_loss
from tests.knowledge.books import FORMS, posteriors, write

HALF = 2.0**-11  # the largest relative rounding error of half precision


def rounding(log_probs: torch.Tensor, tempered: float = 1.0) -> torch.Tensor:
    """How far t may be off when log t is kept in half precision: t (|log t| + H) 2⁻¹¹ to first order, all over τ."""
    probs = (log_probs / tempered).softmax(-1)
    size = log_probs.abs() / tempered
    return probs * (size + (probs * size).sum(-1, keepdim=True)) * HALF * 1.01 + 1e-6


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_dense_book_gives_the_gradient_of_the_live_teacher(tmp_path, temperature):
    entries = posteriors(scale=4.0)
    book = write(tmp_path / "book", entries)
    for utterance, live in entries.items():
        student = torch.randn(live.shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
        common = ([[1]], [len(live)], [1])
        options = {"kd_weight": 1.0, "ctc_weight": 0.0, "distance": "kl", "temperature": temperature}
        gradients = []
        for teacher in (live, book.read(utterance).log_probs()):
            loss = ctc_kd_loss(student[None], teacher[None], *common, backend="torch", **options).total
            gradients.append(torch.autograd.grad(loss, student)[0])
        # The gradient is τ (p − t), so that its error is τ times that of t.
        assert ((gradients[0] - gradients[1]).abs() <= temperature * rounding(live, temperature)).all()
        assert not gradients[0].equal(gradients[1])  # it did go through half precision


def test_the_mean_gradient_of_sampled_books_converges_to_it(tmp_path):
    draws, books = 50, 120
    entries = posteriors(3, scale=2.0)
    student = {u: torch.randn(p.shape, generator=torch.Generator().manual_seed(1)) for u, p in entries.items()}
    sums = {u: torch.zeros_like(p) for u, p in entries.items()}
    for seed in range(books):
        book = write(tmp_path / str(seed), entries, form=Sampled(draws, seed), segment_bytes=10**6)
        for utterance, total in sums.items():
            z = student[utterance][None].requires_grad_()
            kept, lengths = book.collate_sparse([utterance])
            loss = sparse_ctc_kd_loss(z, kept, [[1]], lengths, [1], kd_weight=1.0, ctc_weight=0.0).total
            total += torch.autograd.grad(loss, z)[0][0] / books
    scores = []
    for utterance, live in entries.items():
        t = live.exp()
        expected = student[utterance].softmax(-1) - t
        deviation = (t * (1 - t) / (draws * books)).sqrt()
        often = t * draws * books > 20  # where the sum of draws is near enough to normal
        scores.append(((sums[utterance] - expected) / deviation)[often])
        # The biased teacher would be found out.
        biased = t.topk(2).values.sum(-1, keepdim=True)
        assert ((t / biased - t)[often].abs().max() > 10 * deviation[often].max()) or biased.min() > 0.99
    scores = torch.cat(scores)
    assert len(scores) > 60 and scores.abs().max() < 4.5  # standard deviations, known seeds
    assert 0.7 < scores.square().mean() < 1.3  # and as much spread as draws have: the error falls as 1/√books


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    classes=st.integers(2, 300),
    frames=st.integers(1, 9),
    k=st.integers(1, 300),
    draws=st.integers(1, 400),
    scale=st.sampled_from([0.1, 3.0, 30.0]),
)
def test_what_is_kept_is_what_is_read(seed, classes, frames, k, draws, scale):
    generator = torch.Generator().manual_seed(seed)
    live = (scale * torch.randn(frames, classes, generator=generator, dtype=torch.float64)).log_softmax(-1)
    for form in (Dense(), TopK(min(k, classes)), Sampled(draws, seed)):
        fields, mass = form.encode(live.numpy(), "entry")
        dense, sparse = form.dense(fields, classes).exp(), form.sparse(fields, classes)
        assert dense.dtype == torch.float32 and dense.shape == live.shape
        torch.testing.assert_close(dense.sum(-1), torch.ones(frames))
        torch.testing.assert_close((sparse.probs * (sparse.classes >= 0)).sum(-1) + sparse.tail, torch.ones(frames))
        assert 0 <= mass <= 1 + 1e-9
        if isinstance(form, Dense):
            assert ((dense - live.exp()).abs() <= rounding(live) * 1.1).all() and mass == 1
        elif isinstance(form, TopK):
            top = live.exp().topk(form.k)
            assert mass == pytest.approx(top.values.sum(-1).mean().item(), abs=1e-9)
            torch.testing.assert_close(sparse.probs.double(), top.values, atol=3e-3, rtol=0)
            torch.testing.assert_close(sparse.tail.double(), 1 - top.values.sum(-1), atol=3e-3, rtol=0)
        else:
            counts = dense * form.draws
            torch.testing.assert_close(counts, counts.round(), atol=1e-3, rtol=0)
            drawn = dense > 0
            assert mass == pytest.approx(((live.exp() * drawn).sum() / frames).item(), rel=1e-6)
        if form.truncated:
            entropy = torch.special.entr(live.exp()).sum(-1)
            torch.testing.assert_close(sparse.entropy.double(), entropy, atol=1e-6, rtol=1e-3)


def test_published_posterior_cut_after_two():
    fields, mass = TopK(2).encode(np.log([[0.5, 0.3, 0.1, 0.1]]), "entry")
    kept = TopK(2).sparse(fields, 4)
    assert kept.classes.tolist() == [[0, 1]] and mass == pytest.approx(0.8)
    torch.testing.assert_close(kept.probs, torch.tensor([[0.5, 0.3]]), atol=1e-3, rtol=0)
    torch.testing.assert_close(kept.tail, torch.tensor([0.2]), atol=1e-3, rtol=0)
    torch.testing.assert_close(TopK(2).dense(fields, 4).exp()[0, 2:], torch.tensor([0.1, 0.1]), atol=1e-3, rtol=0)
    # The ghost term with what was read: (1 − Σt) log[(1 − Σt) / (1 − Σp)].
    logits = torch.tensor([[[0.4, 0.35, 0.2, 0.05]]]).log()
    found = sparse_kd_loss(logits, kept.map(lambda x: x[None]), tail="ghost")
    expected = 0.5 * math.log(0.5 / 0.4) + 0.3 * math.log(0.3 / 0.35) + 0.2 * math.log(0.2 / 0.25)
    assert found.item() == pytest.approx(expected, abs=2e-3)


def test_small_probabilities_survive_for_a_higher_temperature():
    # 1e-12 is nothing in half precision, and 1e-3 at temperature 4: that is why logarithms are kept.
    log_probs = torch.tensor([[1 - 2e-12, 1e-12, 1e-12]], dtype=torch.float64).log()
    read = Dense().dense(Dense().encode(log_probs.numpy(), "entry")[0], 3)
    expected = (log_probs / 4).softmax(-1).float()
    torch.testing.assert_close((read / 4).softmax(-1), expected, rtol=5e-3, atol=0)


def test_a_class_of_probability_zero_is_kept_as_that():
    live = torch.tensor([[0.75, 0.25, 0.0, 0.0]], dtype=torch.float64).log().numpy()
    for form in (Dense(), TopK(2), TopK(3), TopK(4), Sampled(20)):
        fields, _ = form.encode(live, "entry")
        probs = form.dense(fields, 4).exp()
        assert probs[0, 2:].tolist() == [0, 0] and probs.isfinite().all()


def test_draws_depend_on_utterance_and_seed_alone():
    live = next(iter(posteriors(1, classes=40).values())).double().numpy()
    read = lambda seed, key: Sampled(20, seed).encode(live, key)[0]  # noqa: E731
    same, other, seeded = read(0, "a"), read(0, "b"), read(1, "a")
    assert all(np.array_equal(same[name], read(0, "a")[name]) for name in same)
    assert not np.array_equal(same["distinct"], other["distinct"])
    assert not np.array_equal(same["distinct"], seeded["distinct"])


@pytest.mark.parametrize(("classes", "width"), [(6, 1), (256, 1), (257, 2), (65536, 2), (65537, 4)])
def test_classes_take_the_bytes_they_need(classes, width):
    live = torch.zeros(2, classes, dtype=torch.float64).log_softmax(-1).numpy()
    for form in (TopK(2), Sampled(3)):
        fields, _ = form.encode(live, "entry")
        assert fields["classes"].itemsize == width
        assert (form.sparse(fields, classes).classes < classes).all()


def test_forms_that_cannot_be():
    with pytest.raises(ConfigError, match="a top-k book keeps 7 classes of 6; expected from 1 to 6"):
        TopK(7).check(6)
    with pytest.raises(ConfigError, match="a sampled book has 0 draws a frame; expected at least 1"):
        Sampled(0).check(6)


@pytest.mark.parametrize("form", FORMS)
def test_any_floating_type_may_be_written(tmp_path, form):
    from tests.knowledge.books import manifest

    entry = next(iter(posteriors(1).values()))
    with BookWriter(tmp_path / "book", manifest(form=FORMS[form])) as writer:
        for name, dtype in {"a": torch.float16, "b": torch.bfloat16, "c": torch.float64}.items():
            writer.add(name, entry.to(dtype).requires_grad_())
    assert len(writer.todo(["a", "b", "c"])) == 0
