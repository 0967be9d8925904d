"""Label smoothing per token (EMNLP 2022, arXiv 2210.13459): by hand, the gradient in closed form, and with loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkd.losses import (
    adaptive_label_smoothing_loss,
    confidence_penalty_loss,
    label_smoothing,
    r_drop_loss,
    tf_kd_reg_loss,
    tf_kd_self_loss,
    uniform_label_smoothing_loss,
)

IGNORED = -100


def make(seed=0, batch=3, positions=5, classes=6, dtype=torch.float64, ignored=0.3):
    """Logits and a prior's (B, S, C), targets (B, S) with some ignored."""
    generator = torch.Generator().manual_seed(seed)
    logits, prior = 2 * torch.randn(2, batch, positions, classes, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, classes, (batch, positions), generator=generator)
    targets[torch.rand(batch, positions, generator=generator) < ignored] = IGNORED
    return logits.to(dtype), prior.to(dtype), targets


LOSSES = {
    "adaptive": lambda z, q, y, **o: adaptive_label_smoothing_loss(z, y, q, **o),
    "adaptive-uniform": lambda z, q, y, **o: adaptive_label_smoothing_loss(z, y, **o),
    "adaptive-composed": lambda z, q, y, **o: adaptive_label_smoothing_loss(z, y, q, backend="composed", **o),
    "adaptive-capped": lambda z, q, y, **o: adaptive_label_smoothing_loss(z, y, q, cap=0.3, **o),
    "adaptive-attached": lambda z, q, y, **o: adaptive_label_smoothing_loss(z, y, q, detach_alpha=False, **o),
    "uniform": lambda z, q, y, **o: uniform_label_smoothing_loss(z, y, **o),
    "uniform-composed": lambda z, q, y, **o: uniform_label_smoothing_loss(z, y, backend="composed", **o),
    "penalty": lambda z, q, y, **o: confidence_penalty_loss(z, y, **o),
    "self": lambda z, q, y, **o: tf_kd_self_loss(z, y, q, kd_weight=0.6, temperature=3.0, **o),
    "self-released": lambda z, q, y, **o: tf_kd_self_loss(z, y, q, kd_weight=0.6, variant="released", **o),
    "reg": lambda z, q, y, **o: tf_kd_reg_loss(z, y, kd_weight=0.6, temperature=3.0, **o),
    "reg-released": lambda z, q, y, **o: tf_kd_reg_loss(z, y, kd_weight=0.6, variant="released", **o),
    "r-drop": lambda z, q, y, **o: r_drop_loss(torch.stack([z, z.flip(-1)]), y, consistency_weight=2.0, **o),
}
DETACHED = ("adaptive", "adaptive-capped", "adaptive-uniform", "adaptive-composed")


@pytest.fixture(params=LOSSES)
def loss(request):
    return LOSSES[request.param]


def total_and_gradient(loss, logits, *arguments, **options):
    logits = logits.clone().requires_grad_()
    result = loss(logits, *arguments, **options)
    return result, torch.autograd.grad(result.total.sum(), logits)[0]


# What holds for every loss of one target token.


def test_what_is_ignored_never_matters(loss):
    logits, prior, targets = make()
    clean, gradient = total_and_gradient(loss, logits, prior, targets)
    valid = targets != IGNORED
    for garbage in (math.nan, math.inf, -math.inf, 1e30):
        z, q = (x.masked_fill(~valid[..., None], garbage) for x in (logits, prior))
        for reduction in ("mean", "sum", "none"):
            expected = loss(logits, prior, targets, reduction=reduction)
            found = loss(z, q, targets, reduction=reduction)
            assert found.total.equal(expected.total)
            assert all(found.terms[name].equal(term) for name, term in expected.terms.items())
        dirty, dirty_gradient = total_and_gradient(loss, z, q, targets)
        assert dirty.total.equal(clean.total) and dirty_gradient.equal(gradient)
        assert (dirty_gradient[~valid] == 0).all()


def test_padding_a_batch_changes_nothing(loss):
    logits, prior, targets = make(ignored=0)
    short, gradient = total_and_gradient(loss, logits, prior, targets)
    z, q = (torch.nn.functional.pad(x, (0, 0, 0, 3, 0, 2), value=math.nan) for x in (logits, prior))
    y = torch.nn.functional.pad(targets, (0, 3, 0, 2), value=IGNORED)
    long, long_gradient = total_and_gradient(loss, z, q, y)
    torch.testing.assert_close(long.total, short.total, rtol=1e-13, atol=0)
    torch.testing.assert_close(long_gradient[:3, :5], gradient, rtol=1e-12, atol=1e-15)
    assert long_gradient.count_nonzero() == gradient.count_nonzero()


def test_another_index_can_be_ignored(loss):
    logits, prior, targets = make()
    expected = loss(logits, prior, targets).total
    for index in (-1, 5):  # 5 is a class: the pad symbol
        other = targets.where(targets != 5, 4)
        expected = loss(logits, prior, other).total
        assert loss(logits, prior, other.masked_fill(other == IGNORED, index), ignore_index=index).total == expected


def test_reductions_are_one_loss(loss):
    logits, prior, targets = make()
    none, total, mean = (loss(logits, prior, targets, reduction=r) for r in ("none", "sum", "mean"))
    valid = targets != IGNORED
    assert none.total.shape == targets.shape and total.total.shape == mean.total.shape == ()
    assert (none.total[~valid] == 0).all() and none.total[valid].all()
    torch.testing.assert_close(none.total.sum(), total.total)
    torch.testing.assert_close(total.total / valid.sum(), mean.total)
    assert none.terms.keys() == total.terms.keys() == mean.terms.keys()
    for name, term in none.terms.items():
        torch.testing.assert_close(term.sum() / valid.sum(), mean.terms[name])
        torch.testing.assert_close(term.sum() / (valid.sum() if name == "alpha" else 1), total.terms[name])


def test_nothing_valid_is_zero(loss):
    logits, prior, targets = make(ignored=1.1)
    for y, z, q in ((targets, logits, prior), (targets[:0], logits[:0], prior[:0])):
        for reduction in ("mean", "sum", "none"):
            result, gradient = total_and_gradient(loss, z, q, y, reduction=reduction)
            assert (result.total == 0).all() and (gradient == 0).all() and gradient.shape == z.shape


def test_gradcheck(loss, request):
    logits, prior, targets = make(batch=2, positions=3)
    if request.node.callspec.params["loss"] in DETACHED:
        # The gradient is that of the loss with α held where it is.
        alpha = adaptive_label_smoothing_loss(logits, targets, per_token=True).terms["alpha_per_token"]
        alpha = 0.3 * alpha if "capped" in request.node.name else alpha
        prior = torch.zeros_like(prior) if "uniform" in request.node.name else prior
        _, found = total_and_gradient(loss, logits, prior, targets, reduction="none")

        def held(z, q, y, reduction):
            terms = [-z.log_softmax(-1).gather(-1, y.clamp(min=0)[..., None])[..., 0]]
            terms += [-(q.softmax(-1) * z.log_softmax(-1)).sum(-1)]
            total = ((1 - alpha) * terms[0] + alpha * terms[1]) * (y != IGNORED)
            return label_smoothing.DistillationLoss(total, {})

        _, expected = total_and_gradient(held, logits, prior, targets, reduction="none")
        torch.testing.assert_close(found, expected)
        logits = logits.requires_grad_()
        assert torch.autograd.gradcheck(lambda z: held(z, prior, targets, "none").total, logits)
    else:
        assert torch.autograd.gradcheck(
            lambda z: loss(z, prior, targets, reduction="none").total, logits.requires_grad_()
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(loss, dtype):
    logits, prior, targets = make(dtype=dtype)
    result, gradient = total_and_gradient(loss, logits, prior, targets)
    expected, expected_gradient = total_and_gradient(loss, logits.float(), prior.float(), targets)
    assert result.total.dtype == torch.float32 and gradient.dtype == dtype
    torch.testing.assert_close(result.total, expected.total, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient, expected_gradient.to(dtype), rtol=1e-2, atol=1e-4)


def test_autocast_changes_nothing(loss):
    logits, prior, targets = make(dtype=torch.float32)
    expected = loss(logits, prior, targets).total
    with torch.autocast("cpu", torch.bfloat16):
        result, gradient = total_and_gradient(loss, logits, prior, targets)
    assert result.total == expected and gradient.dtype == torch.float32


def test_logits_may_be_a_view(loss):
    logits, prior, targets = make(positions=6)
    result, gradient = total_and_gradient(lambda z, *a: loss(z[:, :-1], *a), logits, prior[:, 1:], targets[:, :5])
    expected, other = total_and_gradient(
        loss, logits[:, :-1].contiguous(), prior[:, 1:].contiguous(), targets[:, :5].contiguous()
    )
    assert result.total == expected.total and gradient[:, :-1].equal(other) and (gradient[:, -1] == 0).all()


def test_the_prior_gets_no_gradient(loss):
    logits, prior, targets = make()
    prior = prior.requires_grad_()
    loss(logits.requires_grad_(), prior, targets).total.backward()
    assert prior.grad is None and logits.grad.abs().sum() > 0


def test_adding_a_constant_to_a_position_changes_nothing(loss):
    logits, prior, targets = make()
    shift = 10 * torch.randn(2, 3, 5, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = loss(logits + shift[0], prior + shift[1], targets)
    torch.testing.assert_close(found.total, loss(logits, prior, targets).total, rtol=1e-11, atol=1e-12)


def test_a_nan_where_it_counts_is_seen(loss):
    logits, prior, targets = make(ignored=0)
    logits[1, 2, 3] = math.nan
    per_token = loss(logits, prior, targets, reduction="none").total
    assert per_token.isnan().sum() == 1 and per_token[1, 2].isnan()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"targets": torch.zeros(3, 4, dtype=torch.long)}, r"targets must be \(B, S\) = \(3, 5\), .*got \(3, 4\)"),
        ({"targets": torch.zeros(3, 5)}, "targets must be integers, got torch.float32"),
        ({"targets": torch.full((3, 5), 6)}, r"sentence 0: target 6 at position 0 is outside \[0, 6\), and ignore_"),
        ({"targets": torch.full((3, 5), -1)}, r"target -1 at position 0 is outside \[0, 6\), and ignore_index is -100"),
        ({"reduction": "batchmean"}, "reduction must be one of 'mean', 'sum', 'none', got 'batchmean'"),
        ({"logits": torch.zeros(5, 6)}, r"logits must be a floating-point tensor \(.*B, S, C\)"),
        ({"logits": torch.zeros(3, 5, 6).int()}, "floating-point tensor"),
    ],
)
def test_a_fault_is_one_sentence(loss, change, sentence):
    logits, prior, targets = make()
    arguments = {"logits": logits, "targets": targets, "reduction": "mean"} | change
    with pytest.raises(ValueError, match=sentence):
        loss(arguments["logits"], prior, arguments["targets"], reduction=arguments["reduction"])


# Adaptive label smoothing.


def of(probabilities, target=0, prior=None, **options):
    """One token with these probabilities, in float64."""
    logits = torch.tensor(probabilities, dtype=torch.float64).log()[None, None].requires_grad_()
    prior = None if prior is None else torch.tensor(prior, dtype=torch.float64).log()[None, None]
    return logits, adaptive_label_smoothing_loss(logits, torch.tensor([[target]]), prior, **options)


@pytest.mark.parametrize("backend", ["fused", "composed"])
@pytest.mark.parametrize(
    ("probabilities", "alpha"),
    [((0.25,) * 4, 0.0), ((0.0, 1.0, 0.0, 0.0), 1.0), ((0.7, 0.1, 0.1, 0.1), 0.32161)],
)
def test_published_amounts(probabilities, alpha, backend):
    _, result = of(probabilities, target=1, prior=probabilities, backend=backend)
    assert result.terms["alpha"].item() == pytest.approx(alpha, abs=5e-6)


@pytest.mark.parametrize("backend", ["fused", "composed"])
def test_the_gradient_for_the_target_relative_to_cross_entropy(backend):
    # 1 − α (1 − Q_gold) / (1 − P_gold); the published case has α = .3, P = .7, Q = .6 → .6.
    ratio = 1 - 0.3 * (1 - 0.6) / (1 - 0.7)
    assert ratio == pytest.approx(0.6)
    # A third class's share sets α, found by bisection, so that the loss itself has α = .3.
    low, high = 0.15, 0.3
    for _ in range(60):
        share = (low + high) / 2
        entropy = -sum(p * math.log(p) for p in (0.7, share, 0.3 - share))
        low, high = (low, share) if 1 - entropy / math.log(3) > 0.3 else (share, high)
    logits, result = of((0.7, share, 0.3 - share), prior=(0.6, 0.3, 0.1), backend=backend)
    assert result.terms["alpha"].item() == pytest.approx(0.3)
    result.total.backward()
    assert logits.grad[0, 0, 0].item() / (0.7 - 1) == pytest.approx(ratio)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    classes=st.integers(2, 9),
    uniform=st.booleans(),
    backend=st.sampled_from(["fused", "composed", "auto"]),
    detach=st.booleans(),
    ignored=st.sampled_from([0.0, 0.4]),
    cap=st.sampled_from([1.0, 0.2]),
)
def test_equals_a_computation_with_loops(seed, classes, uniform, backend, detach, ignored, cap):
    logits, prior, targets = make(seed, classes=classes, ignored=ignored)
    backend = backend if detach else "auto"
    options = {"reduction": "none", "backend": backend, "detach_alpha": detach, "cap": cap, "per_token": True}
    result = adaptive_label_smoothing_loss(logits, targets, None if uniform else prior, **options)
    for b, s in np.ndindex(*targets.shape):
        found = [result.total, *(result.terms[name] for name in ("hard", "soft", "alpha", "alpha_per_token"))]
        y, expected = int(targets[b, s]), [0.0] * 4
        if y != IGNORED:
            p, q = (np.exp(x) / sum(np.exp(x)) for x in (logits[b, s].numpy(), prior[b, s].numpy()))
            q = [1 / classes] * classes if uniform else q
            alpha = cap * (1 + sum(x * math.log(x) for x in p) / math.log(classes))
            smooth = [(1 - alpha) * (c == y) + alpha * q[c] for c in range(classes)]
            total = -sum(w * math.log(x) for w, x in zip(smooth, p, strict=True))
            soft = -sum(w * math.log(x) for w, x in zip(q, p, strict=True))
            expected = [total, -math.log(p[y]), soft, alpha]
        assert [x[b, s].item() for x in found] == pytest.approx([*expected, expected[-1]], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("backend", ["fused", "composed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_gradient_is_the_difference_of_distributions(backend, dtype, uniform, reduction, monkeypatch):
    monkeypatch.setitem(label_smoothing.CHUNK, "cpu", 7 * 50)
    logits, prior, targets = make(classes=50, positions=9)
    given_prior = None if uniform else prior.to(dtype)
    _, found = total_and_gradient(
        lambda z: adaptive_label_smoothing_loss(z, targets, given_prior, reduction=reduction, backend=backend),
        logits.to(dtype),
    )
    valid = (targets != IGNORED)[..., None]
    p, q = logits.softmax(-1), (0 * prior if uniform else prior).softmax(-1)
    alpha = 1 + (p * p.log()).sum(-1, keepdim=True) / math.log(50)
    y = torch.nn.functional.one_hot(targets.clamp(min=0), 50)
    expected = (p - (1 - alpha) * y - alpha * q) * valid / (valid.sum() if reduction == "mean" else 1)
    assert (found.double() - expected).abs().max() < (1e-6 if dtype == torch.float32 else 1e-14)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    classes=st.sampled_from([2, 3, 17, 64]),
    rows=st.sampled_from([1, 2, 7, 1000]),
    uniform=st.booleans(),
    ignored=st.sampled_from([0.0, 0.4]),
    double=st.booleans(),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    smoothing=st.sampled_from([None, 0.0, 0.2, 1.0]),
)
def test_both_forms_are_one_loss(seed, classes, rows, uniform, ignored, double, reduction, smoothing):
    logits, prior, targets = make(seed, classes=classes, ignored=ignored, dtype=[torch.float32, torch.float64][double])

    def run(backend):
        def loss(z):
            options = {"reduction": reduction, "backend": backend}
            if smoothing is not None:
                return uniform_label_smoothing_loss(z, targets, smoothing=smoothing, **options)
            prior_logits = None if uniform else prior
            return adaptive_label_smoothing_loss(z, targets, prior_logits, per_token=True, **options)

        leaf = logits.clone().requires_grad_()
        result = loss(leaf)
        (2 * result.total.square()).sum().backward()  # a different factor for each token
        return result, leaf.grad

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(label_smoothing.CHUNK, "cpu", rows * classes)
        fused, gradient = run("fused")
    composed, expected = run("composed")
    tolerance = {"rtol": 1e-11, "atol": 1e-13} if double else {"rtol": 2e-5, "atol": 5e-6}
    torch.testing.assert_close(fused.total, composed.total, **tolerance)
    torch.testing.assert_close(gradient, expected, **tolerance)
    assert fused.terms.keys() == composed.terms.keys()
    for name, term in fused.terms.items():
        torch.testing.assert_close(term, composed.terms[name], **tolerance)
        assert not term.requires_grad and not composed.terms[name].requires_grad


def test_an_unsure_model_gets_cross_entropy():
    targets = torch.tensor([[0, 3, IGNORED]])
    logits = torch.full((1, 3, 4), 1.5, dtype=torch.float64)
    prior = torch.randn(1, 3, 4, dtype=torch.float64)
    result, gradient = total_and_gradient(lambda z: adaptive_label_smoothing_loss(z, targets, prior), logits)
    assert result.terms["alpha"].item() == pytest.approx(0, abs=1e-15)
    expected, expected_gradient = total_and_gradient(cross_entropy(targets), logits)
    torch.testing.assert_close(result.total, expected.total)
    torch.testing.assert_close(gradient, expected_gradient)


def cross_entropy(targets, **options):
    def loss(z):
        flat = z.flatten(0, 1), targets.flatten()
        total = torch.nn.functional.cross_entropy(*flat, **options)
        return label_smoothing.DistillationLoss(total, {})

    return loss


def test_a_gradient_can_be_taken_twice_from_one_graph():
    logits, prior, targets = make()
    logits = logits.requires_grad_()
    total = adaptive_label_smoothing_loss(logits, targets, prior).total
    first = torch.autograd.grad(total, logits, retain_graph=True)[0]
    assert torch.autograd.grad(total, logits)[0].equal(first)


def test_classes_masked_in_both_contribute_nothing():
    logits, prior, targets = make()
    wider = [torch.nn.functional.pad(x, (0, 1), value=-math.inf) for x in (logits, prior)]
    for backend in ("fused", "composed"):
        run = {"reduction": "none", "backend": backend, "per_token": True}
        narrow, _ = total_and_gradient(lambda z, o=run: adaptive_label_smoothing_loss(z, targets, prior, **o), logits)
        result, gradient = total_and_gradient(
            lambda z, o=run: adaptive_label_smoothing_loss(z, targets, wider[1], **o), wider[0]
        )
        torch.testing.assert_close(result.terms["soft"], narrow.terms["soft"])
        entropy = [(1 - x.terms["alpha"]) * math.log(c) for x, c in ((narrow, 6), (result, 7))]
        torch.testing.assert_close(*(x[targets != IGNORED] for x in entropy))
        assert (gradient[..., 6] == 0).all() and gradient.isfinite().all()
    # Against a prior that believes in what the model rules out, the loss is infinite, not NaN.
    assert adaptive_label_smoothing_loss(wider[0], targets).terms["soft"] == math.inf


def test_large_logits_keep_their_digits():
    logits, prior, targets = make(ignored=0)
    found = total_and_gradient(
        lambda z: adaptive_label_smoothing_loss(z, targets, prior.float()), 2**14 + (64 * logits).round().float() / 64
    )
    expected = total_and_gradient(
        lambda z: adaptive_label_smoothing_loss(z, targets, prior), (64 * logits).round() / 64
    )
    assert found[0].total.item() == pytest.approx(expected[0].total.item(), rel=1e-6)
    assert (found[1] - expected[1]).abs().max() < 1e-6


def test_attached_alpha_has_the_same_value_and_another_gradient():
    logits, prior, targets = make()
    results = [
        total_and_gradient(lambda z, d=d: adaptive_label_smoothing_loss(z, targets, prior, detach_alpha=d), logits)
        for d in (True, False)
    ]
    torch.testing.assert_close(results[0][0].total, results[1][0].total)
    assert (results[0][1] - results[1][1]).abs().max() > 1e-3


def test_faults_of_adaptive_smoothing():
    logits, prior, targets = make()
    for arguments, options, sentence in [
        ((logits, targets, prior[..., :5]), {}, r"prior_logits \(3, 5, 5\) and logits \(3, 5, 6\) must have the same"),
        ((logits, targets, prior[0]), {}, r"prior_logits must be a floating-point tensor \(B, S, C\)"),
        ((logits[..., :1], targets.clamp(max=0)), {}, "logits must have at least 2 classes"),
        ((logits, targets), {"backend": "cuda"}, "backend must be one of 'auto', 'fused', 'composed', got 'cuda'"),
        ((logits, targets), {"backend": "fused", "detach_alpha": False}, "cannot differentiate alpha"),
        ((logits, targets), {"cap": 1.5}, "cap"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            adaptive_label_smoothing_loss(*arguments, **options)


# Uniform label smoothing and the confidence penalty.


@pytest.mark.parametrize("backend", ["fused", "composed"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, 1.0, 1])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_uniform_smoothing_is_torchs(backend, smoothing, reduction):
    logits, _, targets = make()
    options = {"smoothing": smoothing, "backend": backend, "reduction": reduction}
    found, gradient = total_and_gradient(lambda z: uniform_label_smoothing_loss(z, targets, **options), logits)
    theirs = cross_entropy(targets, label_smoothing=float(smoothing), reduction=reduction)
    expected, expected_gradient = total_and_gradient(theirs, logits)
    torch.testing.assert_close(found.total, expected.total)
    torch.testing.assert_close(gradient, expected_gradient)
    assert ("hard" in found.terms) == (smoothing < 1) and ("soft" in found.terms) == (smoothing > 0)


def test_no_smoothing_is_cross_entropy_even_with_masked_classes():
    logits, _, targets = make()
    logits = torch.nn.functional.pad(logits, (0, 1), value=-math.inf)
    for backend in ("fused", "composed"):
        total = uniform_label_smoothing_loss(logits, targets, smoothing=0.0, backend=backend).total
        assert total.item() == pytest.approx(cross_entropy(targets)(logits).total.item())
    penalised, gradient = total_and_gradient(lambda z: confidence_penalty_loss(z, targets), logits)
    assert penalised.total.isfinite() and gradient.isfinite().all() and (gradient[..., 6] == 0).all()


def test_confidence_penalty_in_closed_form():
    logits, _, targets = make(ignored=0)
    result, gradient = total_and_gradient(
        lambda z: confidence_penalty_loss(z, targets, penalty_weight=0.7, reduction="sum"), logits
    )
    p = logits.softmax(-1)
    entropy = -(p * p.log()).sum(-1, keepdim=True)
    torch.testing.assert_close(result.terms["penalty"], -entropy.sum())
    torch.testing.assert_close(result.total, result.terms["hard"] - 0.7 * entropy.sum())
    y = torch.nn.functional.one_hot(targets, 6)
    torch.testing.assert_close(gradient, p - y + 0.7 * p * (p.log() + entropy))


def test_a_penalty_of_zero_is_cross_entropy():
    logits, _, targets = make()
    result = confidence_penalty_loss(logits, targets, penalty_weight=0.0)
    assert result.terms.keys() == {"hard"} and result.total.equal(result.terms["hard"])
    torch.testing.assert_close(result.total, cross_entropy(targets)(logits).total)


def test_faults_of_the_amounts():
    logits, _, targets = make()
    with pytest.raises(ValueError, match=r"smoothing must be in \[0, 1\], got 1.5"):
        uniform_label_smoothing_loss(logits, targets, smoothing=1.5)
    with pytest.raises(ValueError, match="penalty_weight must be finite and not negative, got -1"):
        confidence_penalty_loss(logits, targets, penalty_weight=-1)
