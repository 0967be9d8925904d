"""Divergences of distributions that are close: in float32, on every path, none is negative and digits are left."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkd.losses import (
    BookKd,
    Delayed,
    FrameKd,
    Labels,
    Outputs,
    SparsePosteriors,
    VirtualTeacher,
    book_kd_loss,
    cons_kd_loss,
    delayed_kd_loss,
    inter_ctc_kd_loss,
    sparse_kd_loss,
    tf_kd_reg_loss,
    tf_kd_self_loss,
)
from seqkd.losses.base import divergence_terms, kl_divergence
from seqkd.losses.sparse import entropy_of
from seqkd.losses.tf_kd import virtual_teacher

torch.set_num_threads(1)
T, C = 20, 50
TARGETS, FRAMES, LABELS = torch.tensor([[1, 2]] * 2), torch.tensor([T, T - 5]), torch.tensor([2, 2])
POSITIONS = torch.randint(C, (2, T), generator=torch.Generator().manual_seed(5))


def outputs(student, teacher):
    lengths = FRAMES.clone()
    return Outputs(student[None], lengths), Outputs(teacher[None], lengths)


def term(kind):
    def value(student, teacher):
        ours, theirs = outputs(student, teacher)
        return kind(ours, theirs, Labels(TARGETS, LABELS))

    return value


def sparse(student, teacher, tail, kept):
    probs, classes = teacher.softmax(-1).topk(kept)
    book = SparsePosteriors(classes, probs, 1 - probs.sum(-1))
    if tail == "ghost":
        return sparse_kd_loss(student, book, tail="ghost", reduction="sum")
    return sparse_kd_loss(student, book, tail=tail, reduction="sum")


WEIGHT = {"kd_weight": 1.0, "distance": "kl"}
PATHS = {
    "kl_divergence": lambda s, t: kl_divergence(t.log_softmax(-1), s.log_softmax(-1)).sum(),
    "cons_kd": lambda s, t: cons_kd_loss(
        s[None], t, TARGETS, FRAMES, LABELS, consistency_weight=0.0, backend="torch", **WEIGHT
    ).terms["kd"],
    "cons_kd_kernel": lambda s, t: cons_kd_loss(
        s[None], t, TARGETS, FRAMES, LABELS, consistency_weight=0.0, **WEIGHT
    ).terms["kd"],
    "delayed": lambda s, t: delayed_kd_loss(s, t, TARGETS, FRAMES, LABELS, max_delay=2, **WEIGHT).terms["kd"],
    "inter": lambda s, t: inter_ctc_kd_loss(
        s, [s], t, TARGETS, FRAMES, LABELS, inter_kd_weight=1.0, inter_ctc_weight=0.0, ctc_weight=0.0, **WEIGHT
    ).terms["inter_kd"],
    "tf_kd_self": lambda s, t: tf_kd_self_loss(s, POSITIONS, t, kd_weight=0.5, temperature=1.0).terms["kd"],
    "book_kd": lambda s, t: book_kd_loss(s, POSITIONS, t.log_softmax(-1), kd_weight=0.5, adjust=False).terms["kd"],
    "sparse_all": lambda s, t: sparse(s, t, "spread", C),
    "sparse_renormalised": lambda s, t: sparse(s, t, "renormalise", C),
    "frame_kd": term(FrameKd(distance="kl", temperature=2.0)),
    "delayed_term": term(Delayed(max_delay=1)),
    "book_kd_term": term(BookKd(adjust=False)),
}


@pytest.mark.parametrize("noise", [1e-3, 3e-4, 0.1, 3.0])
@pytest.mark.parametrize("name", PATHS)
def test_digits_are_left(name, noise):
    generator = torch.Generator().manual_seed(0)
    teacher = 3 * torch.randn(2, T, C, generator=generator)
    student = teacher + noise * torch.randn(2, T, C, generator=generator)
    exact = PATHS[name](student.double(), teacher.double())
    torch.testing.assert_close(PATHS[name](student, teacher).double(), exact, rtol=1e-3, atol=0)


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(sorted(PATHS)), seed=st.integers(0, 10**6), noise=st.sampled_from([0.0, 1e-7, 1e-5, 1e-4]))
def test_none_is_negative(name, seed, noise):
    generator = torch.Generator().manual_seed(seed)
    teacher = 3 * torch.randn(2, T, C, generator=generator)
    student = teacher + noise * torch.randn(2, T, C, generator=generator)
    assert (PATHS[name](student, teacher) >= 0).all()


@pytest.mark.parametrize("tail", ["spread", "ghost"])
@pytest.mark.parametrize("noise", [1e-3, 3e-4])
def test_digits_are_left_beside_a_tail(tail, noise):
    """A teacher that is even over all but three classes is kept whole by three."""
    generator = torch.Generator().manual_seed(0)
    teacher = torch.zeros(2, T, C)
    teacher[..., :3] = torch.tensor([5.0, 3.0, 2.0])
    student = teacher + noise * torch.randn(2, T, C, generator=generator)
    book = SparsePosteriors(torch.arange(3).expand(2, T, 3), teacher.double().softmax(-1)[..., :3], torch.zeros(2, T))
    book = SparsePosteriors(book.classes, book.probs, 1 - book.probs.sum(-1))
    exact = sparse_kd_loss(student.double(), book, tail=tail, reduction="sum")
    found = sparse_kd_loss(student, book, tail=tail, reduction="sum")
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=0)


@pytest.mark.parametrize("variant", ["paper", "printed", "released"])
def test_the_virtual_teacher_keeps_digits_and_sign(variant):
    temperature = 1.0 if variant == "paper" else 4.0
    gold, rest = virtual_teacher(C, temperature, 0.9, variant)
    scale = 1.0 if variant == "released" else temperature
    exact_logits = torch.full((2, T, C), rest, dtype=torch.double).log()
    exact_logits.scatter_(-1, POSITIONS[..., None], torch.tensor(gold, dtype=torch.double).log().item())
    generator = torch.Generator().manual_seed(0)
    student = (scale * exact_logits + 1e-3 * torch.randn(2, T, C, generator=generator)).float()
    options = {"kd_weight": 0.5, "temperature": temperature, "correct_prob": 0.9, "variant": variant}
    found, exact = (tf_kd_reg_loss(z, POSITIONS, **options).terms["kd"] for z in (student, student.double()))
    assert found >= 0
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=0)
    ours = Outputs(student[None], torch.tensor([T, T]))
    labels = Labels(POSITIONS, torch.tensor([T, T]))
    assert (VirtualTeacher(temperature=temperature, correct_prob=0.9, variant=variant)(ours, None, labels) >= 0).all()


def test_the_series_is_the_divergence():
    generator = torch.Generator().manual_seed(0)
    p = torch.randn(300, 7, generator=generator, dtype=torch.double).log_softmax(-1)
    for noise in (1e-6, 1e-3, 9e-3, 1.1e-2, 1.0, 30.0):
        q = (p + noise * torch.randn(300, 7, generator=generator, dtype=torch.double)).log_softmax(-1)
        assert (divergence_terms(p, q) >= 0).all()
        plain = (p.exp() * (p - q)).sum(-1)
        torch.testing.assert_close(divergence_terms(p, q).sum(-1), plain, rtol=1e-9, atol=1e-15)


def test_a_part_at_a_time_is_the_same(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(*shape, generator=generator).log_softmax(-1) for shape in ((1, 3, 11, 5), (2, 3, 11, 5)))
    whole = kl_divergence(p, q)
    for chunk in (1, 60, 200):
        monkeypatch.setattr("seqkd.losses.base.CHUNK", chunk)
        assert torch.equal(kl_divergence(p, q), whole)


def test_what_cannot_be_is_infinite_and_what_is_masked_counts_for_nothing():
    p = torch.tensor([[0.0, 1.0, -torch.inf]]).log_softmax(-1)
    q = torch.tensor([[0.0, -torch.inf, -torch.inf]]).log_softmax(-1)
    assert kl_divergence(p, q) == torch.inf and kl_divergence(p, p) == 0
    assert kl_divergence(q, p).isfinite()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_entropy_of_a_book_in_half_precision(dtype):
    probs, classes = torch.randn(2, 4, C).softmax(-1).topk(8)
    kept = probs.to(dtype)
    book = SparsePosteriors(classes, kept, (1 - kept.float().sum(-1)).to(dtype))
    exact = entropy_of(book.map(lambda x: x.double() if x.is_floating_point() else x), C, torch.double)
    assert entropy_of(book, C).dtype == torch.float32
    torch.testing.assert_close(entropy_of(book, C).double(), exact, rtol=1e-6, atol=0)
    assert torch.equal(entropy_of(book, C, torch.double), exact)
