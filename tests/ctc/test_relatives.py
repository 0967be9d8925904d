"""What stands beside the CTC loss: its module, occupancies, label priors, the star."""

import itertools

import pytest
import torch

from seqkd.ctc import CTCLoss, ctc_loss, ctc_loss_with_priors, log_label_priors, occupancies, star_ctc_loss

torch.set_num_threads(1)


def batch(dtype=torch.double):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 12, 5, generator=generator, dtype=torch.double).to(dtype)
    targets = torch.tensor([[1, 2, 2, 4], [3, 1, 0, 0], [0, 0, 0, 0]])
    return logits, targets, torch.tensor([12, 9, 4]), torch.tensor([4, 2, 0])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_the_module_is_torchs(reduction, batch_first):
    logits, *arguments = batch()
    by_time = logits.log_softmax(-1).transpose(0, 1)
    expected = torch.nn.CTCLoss(0, reduction)(by_time, *arguments)
    given = logits if batch_first else by_time
    torch.testing.assert_close(CTCLoss(0, reduction, batch_first=batch_first)(given, *arguments), expected)
    one = [x[0] for x in (by_time.transpose(0, 1), *arguments)]
    torch.testing.assert_close(CTCLoss(0, reduction)(*one), torch.nn.CTCLoss(0, reduction)(*one))


def test_the_module_refuses_unknown_settings_and_shows_its_own():
    with pytest.raises(ValueError, match="reduction must be one of"):
        CTCLoss(reduction="avg")
    assert repr(CTCLoss(2, "batchmean")) == (
        "CTCLoss(blank=2, reduction='batchmean', zero_infinity=False, batch_first=False)"
    )


@pytest.mark.parametrize("backend", ["auto", "torch", "reference"])
def test_batchmean_divides_by_utterances_alone(backend):
    arguments = batch()
    each = ctc_loss(*arguments, reduction="none", backend=backend)
    torch.testing.assert_close(ctc_loss(*arguments, reduction="batchmean", backend=backend), each.sum() / 3)
    z = arguments[0].clone().requires_grad_()
    (found,) = torch.autograd.grad(ctc_loss(z, *arguments[1:], reduction="batchmean", backend=backend), z)
    (expected,) = torch.autograd.grad(ctc_loss(z, *arguments[1:], reduction="sum", backend=backend) / 3, z)
    torch.testing.assert_close(found, expected)


def test_ragged_lists_of_targets():
    logits, targets, frames, labels = batch()
    expected = ctc_loss(logits, targets, frames, labels)
    lists = [[1, 2, 2, 4], [3, 1], []]
    assert ctc_loss(logits, lists, frames, labels) == expected
    assert ctc_loss(logits, [torch.tensor(x, dtype=torch.long) for x in lists], frames, labels) == expected
    with pytest.raises(ValueError, match=r"utterance 1: target length 3, but its target has shape \(2,\)"):
        ctc_loss(logits, lists, frames, [4, 3, 0])
    with pytest.raises(ValueError, match="targets must be integers"):
        ctc_loss(logits, [["a"], ["b", "c"], []], frames, labels)


def test_one_utterance_needs_one_length():
    with pytest.raises(ValueError, match=r"logits \(5, 3\) are \(T, C\), of one utterance, but input_lengths has 2"):
        ctc_loss(torch.zeros(5, 3), [1, 2], [5, 5], 2)
    assert ctc_loss(torch.zeros(5, 3), [1, 2], 5, 2, reduction="none").shape == ()


def paths(logits, weight):
    """Probability, times ``weight`` of a path, of all paths of logits (T, C)."""
    p = logits.softmax(-1)
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        yield path, weight(path) * p[range(len(logits)), path].prod()


def collapsed(path, blank=0):
    return [c for c, _ in itertools.groupby(path) if c != blank]


def test_occupancies_are_shares_of_paths():
    logits = torch.randn(1, 5, 3, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    target = [1, 2]
    expected, total = torch.zeros(5, 3, dtype=torch.double), 0
    for path, probability in paths(logits[0], lambda _: 1.0):
        if collapsed(path) == target:
            total += probability
            expected[range(5), path] += probability
    found = occupancies(logits, [target], [5], [2])
    torch.testing.assert_close(found.blank[0], expected[:, 0] / total)
    torch.testing.assert_close(found.labels[0], expected[:, 1:] / total)


def test_occupancies_make_the_gradient():
    logits, targets, frames, labels = batch()
    found = occupancies(logits, targets, frames, labels)
    z = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ctc_loss(z, targets, frames, labels, reduction="sum"), z)
    mask = torch.arange(12) < frames[:, None]
    expected = logits.softmax(-1).masked_fill(~mask[..., None], 0.0) - gradient
    torch.testing.assert_close(found.by_class(targets, 5), expected)
    torch.testing.assert_close(found.blank + found.labels.sum(-1), mask.double())
    assert (found.labels[1, :, 2:] == 0).all()
    crowded = occupancies(logits[:1], [[1, 1]], [2], [2])
    assert (crowded.blank == 0).all() and (crowded.labels == 0).all()
    with torch.inference_mode():
        assert torch.equal(occupancies(logits, targets, frames, labels).labels, found.labels)


def test_label_priors_divide_every_path():
    logits = torch.randn(1, 5, 3, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    log_priors = torch.tensor([-0.1, -2.0, -3.0], dtype=torch.double)
    weight = lambda path: (-0.7 * log_priors[list(path)].sum()).exp()  # noqa: E731
    expected = -sum(p for path, p in paths(logits[0], weight) if collapsed(path) == [1, 2]).log()
    found = ctc_loss_with_priors(logits, [[1, 2]], [5], [2], log_priors, scale=0.7, reduction="sum")
    torch.testing.assert_close(found, expected)


def test_label_priors_leave_the_rest_of_ctc_as_it_is():
    logits, *arguments = batch()
    priors = log_label_priors(logits, arguments[1])
    assert priors.exp().sum() == pytest.approx(1)
    assert torch.equal(
        ctc_loss_with_priors(logits, *arguments, priors, scale=0.0),
        ctc_loss_with_priors(logits, *arguments, 0 * priors),
    )
    for reduction in ("mean", "sum", "none", "batchmean"):
        torch.testing.assert_close(
            ctc_loss_with_priors(logits, *arguments, 0 * priors, reduction=reduction),
            ctc_loss(logits, *arguments, reduction=reduction),
        )
    torch.autograd.gradcheck(
        lambda z: ctc_loss_with_priors(z, *arguments, priors, reduction="none"), logits.clone().requires_grad_()
    )
    dirty = logits.clone()
    dirty[1, 9:] = torch.nan
    assert torch.equal(
        ctc_loss_with_priors(dirty, *arguments, priors), ctc_loss_with_priors(logits, *arguments, priors)
    )
    z = logits[:1].clone().requires_grad_()
    crowded = ctc_loss_with_priors(z, [[1, 1]], [2], [2], priors)
    crowded.backward()
    assert crowded == torch.inf and z.grad.abs().sum() == 0
    with pytest.raises(ValueError, match=r"log_priors must be \(5,\)"):
        ctc_loss_with_priors(logits, *arguments, priors[:3])


STAR = 3  # a fourth symbol of enumerated paths


def may_be(read, target, fault):
    """Whether labels and stars, as they were read, are a reading of the target."""
    if fault == "wrong":
        return len(read) == len(target) and all(x in (STAR, y) for x, y in zip(read, target, strict=True))
    return [x for x in read if x != STAR] == list(target)


@pytest.mark.parametrize("fault", ["wrong", "missing"])
@pytest.mark.parametrize("score", ["mean", "sum"])
@pytest.mark.parametrize("target", [[1, 2], [1, 1], [2], []])
def test_the_star_equals_the_sum_over_all_paths(fault, score, target):
    logits = torch.randn(4, 3, dtype=torch.double, generator=torch.Generator().manual_seed(2))
    p = logits.softmax(-1)
    star = p[:, 1:].sum(-1) * torch.tensor(-0.3).double().exp() / (2 if score == "mean" else 1)
    extended = torch.cat([p, star[:, None]], 1)
    total = sum(
        extended[range(4), path].prod()
        for path in itertools.product(range(4), repeat=4)
        if may_be(collapsed(path), target, fault)
    )
    options = {"fault": fault, "penalty": 0.3, "score": score, "reduction": "sum"}
    found = star_ctc_loss(logits[None], [target], [4], [len(target)], **options)
    torch.testing.assert_close(found, -total.log())


@pytest.mark.parametrize("fault", ["wrong", "missing"])
def test_without_the_star_it_is_ctc(fault):
    logits, *arguments = batch()
    for reduction in ("mean", "sum", "none", "batchmean"):
        found = star_ctc_loss(logits, *arguments, fault=fault, penalty=float("inf"), reduction=reduction)
        torch.testing.assert_close(found, ctc_loss(logits, *arguments, reduction=reduction))
    z, y = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    star_ctc_loss(z, *arguments, fault=fault, penalty=float("inf")).backward()
    ctc_loss(y, *arguments).backward()
    torch.testing.assert_close(z.grad, y.grad)


@pytest.mark.parametrize("fault", ["wrong", "missing"])
def test_the_stars_gradient_padding_and_impossible_targets(fault):
    logits, *arguments = batch()
    torch.autograd.gradcheck(
        lambda z: star_ctc_loss(z, *arguments, fault=fault, penalty=0.5, reduction="none"),
        logits.clone().requires_grad_(),
    )
    dirty = logits.clone()
    dirty[1, 9:], dirty[2, 4:] = torch.nan, torch.inf
    assert torch.equal(star_ctc_loss(dirty, *arguments, fault=fault), star_ctc_loss(logits, *arguments, fault=fault))
    z = logits[:1].clone().requires_grad_()
    losses = star_ctc_loss(z, [[1, 2, 3]], [2], [3], fault=fault, reduction="none")
    losses.sum().backward()
    assert losses[0] == torch.inf and (z.grad == 0).all()
    assert star_ctc_loss(z, [[1, 2, 3]], [2], [3], fault=fault, zero_infinity=True) == 0
    with pytest.raises(ValueError, match="penalty must be from 0 to inf, got -1"):
        star_ctc_loss(logits, *arguments, penalty=-1)
    with pytest.raises(ValueError, match="fault must be one of 'wrong', 'missing'"):
        star_ctc_loss(logits, *arguments, fault="other")
