"""What must hold of the CUDA kernels, wherever they run: on a GPU, or on the host through the emulator."""

from __future__ import annotations

from itertools import combinations
from typing import Protocol

import pytest
import torch
from torch import Tensor

from seqkd.ctc.problem import Problem, Terms
from seqkd.ctc.reference import reference_nll


class Backend(Protocol):
    """Where the kernels run."""

    device: torch.device

    def forward(self, problem: Problem) -> Terms: ...

    def backward(self, problem: Problem, terms: Terms, ctc: Tensor, kd: Tensor, consistency: Tensor) -> Tensor: ...


def make_problem(
    backend: Backend, logits: Tensor, targets: Tensor, input_lengths, target_lengths, **options
) -> Problem:
    """A problem of CTC alone, unless options say otherwise."""
    settings = {
        "teacher": None,
        "blank": 0,
        "ctc": True,
        "distance": "none",
        "temperature": 1.0,
        "nonblank": False,
        "consistency": "none",
        "gradient": True,
        "check_labels": False,
    } | options
    if settings["teacher"] is not None:
        settings["teacher"] = settings["teacher"].to(backend.device)
    return Problem(
        logits=logits.to(backend.device),
        targets=targets.to(backend.device),
        input_lengths=torch.as_tensor(input_lengths),
        target_lengths=torch.as_tensor(target_lengths),
        **settings,
    )


def coefficients(problem: Problem, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Some, different for all passes and utterances."""
    passes, batch = problem.shape[:2]
    generator = torch.Generator().manual_seed(seed)
    shapes = ((passes, batch), (passes, batch), (batch,))
    return tuple((0.5 + torch.rand(s, generator=generator)).to(problem.logits.device) for s in shapes)


def compute(backend: Backend, problem: Problem, weights=None) -> tuple[Terms, Tensor]:
    """Terms and gradient, on the host."""
    terms = backend.forward(problem)
    gradient = backend.backward(problem, terms, *(coefficients(problem) if weights is None else weights))
    return Terms(*(x.cpu() for x in terms)), gradient.cpu()


def expected(problem: Problem, weights=None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """ctc, kd, consistency and the gradient in float64, as the formulas are written. On the host."""
    weights = [w.cpu().double() for w in (coefficients(problem) if weights is None else weights)]
    passes, batch, frames, _ = problem.shape
    valid = torch.arange(frames) < problem.input_lengths[:, None]  # (B, T)
    logits = problem.logits.cpu().double().masked_fill(~valid[..., None], 0.0).requires_grad_()
    log_probs = logits.log_softmax(-1)
    ctc, kd, consistency = torch.zeros(passes, batch), torch.zeros(passes, batch), torch.zeros(batch)
    if problem.ctc:
        ctc = torch.stack(
            [
                reference_nll(z, problem.targets.cpu(), problem.input_lengths, problem.target_lengths, problem.blank)
                for z in log_probs
            ]
        )
    if problem.distance != "none":
        tau = problem.temperature
        teacher = problem.teacher.cpu().double().masked_fill(~valid[..., None], 0.0)
        selected = valid & (teacher.argmax(-1) != problem.blank) if problem.nonblank else valid
        teacher, student = (teacher / tau).log_softmax(-1), (logits / tau).log_softmax(-1)
        if problem.distance == "squared":
            distances = (teacher.exp() - student.exp()).square().sum(-1)
        else:
            distances = tau**2 * (teacher.exp() * (teacher - student).masked_fill(teacher.isneginf(), 0.0)).sum(-1)
        kd = distances.masked_fill(~selected, 0.0).sum(-1)
    if problem.consistency != "none":
        pairs = list(combinations(log_probs, 2))
        consistency = 0.0
        for first, second in pairs:
            p, q = first.exp(), second.exp()
            if problem.consistency == "detached":
                p, q = p.detach(), q.detach()
            ratio = (first - second).masked_fill((p == 0) & (q == 0), 0.0)
            shares = (0.5 * (p - q) * ratio).sum(-1).masked_fill(~valid, 0.0)
            consistency = consistency + shares.sum(-1) / len(pairs)
    total = sum((w * x).where(x.isfinite(), 0.0).sum() for w, x in zip(weights, (ctc, kd, consistency), strict=True))
    gradient = torch.autograd.grad(total + logits[..., :0].sum(), logits)[0]
    return ctc.detach(), kd.detach(), consistency.detach(), gradient.masked_fill(~valid[..., None], 0.0)


def assert_right(backend: Backend, problem: Problem, *, atol: float = 1e-5) -> tuple[Terms, Tensor]:
    """Values to 1e-5 relative, the gradient to 1e-5 in max-norm."""
    terms, gradient = compute(backend, problem)
    *values, expected_gradient = expected(problem)
    for name, value, right in zip(("ctc", "kd", "consistency"), terms, values, strict=False):
        # A float next to 1 is good to 3e-8, and that is what each frame may add in nats.
        slack = 1e-6 + 3e-8 * problem.shape[2]
        torch.testing.assert_close(value.double(), right.double(), rtol=1e-5, atol=slack, msg=f"{name}: {{}}".format)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=0, atol=atol)
    return terms, gradient


def random_batch(
    seed: int, *, passes=1, batch=3, frames=30, classes=7, labels=8, blank=0, scale=2.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits (P, B, T, C), targets (B, S), input lengths and target lengths; the last target is shorter."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(passes, batch, frames, classes, generator=generator)
    targets = (torch.randint(1, max(classes, 2), (batch, labels), generator=generator) + blank) % classes
    cut = torch.arange(batch)
    return logits, targets, (frames - 3 * cut).clamp(min=0), (labels - 2 * cut).clamp(min=0)


REGIMES = ("untrained", "peaked", "collapsed", "cold")


def regime(name: str, frames: int, classes: int, labels: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (1, 1, T, C) of a model in some state of training, and a target (1, S)."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(frames, classes, generator=generator)
    target = torch.randint(1, classes, (labels,), generator=generator)
    if name == "peaked":
        logits[:, 0] += 12.0
        spikes = torch.linspace(1, frames - 2, labels).long()
        logits[spikes, target] += 24.0
    elif name == "collapsed":
        logits[:, 0] += 15.0
    elif name == "cold":
        logits *= 200.0
    return logits[None, None], target[None]


class KernelSuite:
    """The semantics, on the ``backend`` fixture of whoever inherits this."""

    @pytest.mark.parametrize("blank", [0, 3, 6])
    @pytest.mark.parametrize(("classes", "labels"), [(7, 8), (7, 4), (50, 8)])
    def test_ctc(self, backend, blank, classes, labels):
        for seed in range(3):
            batch = random_batch(seed, classes=classes, labels=labels, blank=blank)
            assert_right(backend, make_problem(backend, *batch, blank=blank))

    @pytest.mark.parametrize("frames", [0, 1, 2, 5])
    def test_few_frames(self, backend, frames):
        for labels in (1, 3):
            logits, targets, _, lengths = random_batch(frames, frames=frames, labels=labels)
            problem = make_problem(backend, logits, targets, [frames, max(frames - 1, 0), 0], lengths)
            assert_right(backend, problem)

    def test_targets_that_cannot_be_aligned_have_no_gradient(self, backend):
        logits = torch.randn(1, 3, 3, 4)
        problem = make_problem(backend, logits, torch.tensor([[1, 1], [1, 2], [3, 3]]), [2, 2, 3], [2, 2, 2])
        terms, gradient = assert_right(backend, problem)
        assert terms.ctc[0].isinf().tolist() == [True, False, False]
        assert (gradient[0, 0] == 0).all()

    def test_empty_targets_and_inputs(self, backend):
        logits = torch.randn(1, 4, 4, 3)
        problem = make_problem(backend, logits, torch.ones(4, 1, dtype=torch.long), [4, 0, 0, 4], [0, 0, 1, 1])
        terms, _ = assert_right(backend, problem)
        assert terms.ctc[0, 1] == 0 and terms.ctc[0, 2] == torch.inf

    def test_one_class(self, backend):
        problem = make_problem(backend, torch.randn(2, 1, 4, 1), torch.zeros(1, 1, dtype=torch.long), [4], [0])
        terms, gradient = assert_right(backend, problem)
        assert (terms.ctc == 0).all() and (gradient == 0).all()

    def test_an_empty_batch(self, backend):
        problem = make_problem(backend, torch.zeros(2, 0, 5, 3), torch.zeros(0, 1, dtype=torch.long), [], [])
        problem = Problem(
            **vars(problem) | {k: getattr(problem, k).long() for k in ("input_lengths", "target_lengths")}
        )
        terms, gradient = compute(backend, problem)
        assert terms.ctc.shape == (2, 0) and gradient.shape == (2, 0, 5, 3)

    def test_repeated_labels(self, backend):
        targets = torch.tensor([[2, 2, 2, 1, 1, 2, 2, 2], [1] * 8])
        for classes in (4, 40):
            assert_right(backend, make_problem(backend, torch.randn(1, 2, 40, classes), targets, [40, 30], [8, 7]))

    @pytest.mark.parametrize("name", REGIMES)
    @pytest.mark.parametrize(("frames", "classes", "labels"), [(120, 40, 31), (240, 30, 100)])
    def test_regimes(self, backend, name, frames, classes, labels):
        problem = make_problem(backend, *regime(name, frames, classes, labels), [frames], [labels])
        assert_right(backend, problem)

    @pytest.mark.parametrize("name", REGIMES)
    def test_long_inputs(self, backend, name):
        problem = make_problem(backend, *regime(name, 4000, 20, 40), [4000], [40])
        assert_right(backend, problem)

    @pytest.mark.parametrize("labels", [513, 1030])
    def test_long_targets(self, backend, labels):
        frames = labels + 20
        problem = make_problem(backend, *regime("peaked", frames, 30, labels), [frames], [labels])
        assert_right(backend, problem)

    @pytest.mark.parametrize("scale", [3e3, 1e6, 1e30])
    def test_probabilities_that_no_float_holds(self, backend, scale):
        for seed in range(3):
            logits, *rest = random_batch(seed, labels=6, classes=9, scale=1.0)
            assert_right(backend, make_problem(backend, scale * logits, *rest), atol=1e-5 if scale < 1e5 else 2e-3)

    def test_double_precision_kernel(self, backend, monkeypatch):
        # No target is short enough for the registers.
        monkeypatch.setattr("seqkd.ctc.cuda.passes._LATTICES", ())
        for classes in (7, 30):
            assert_right(backend, make_problem(backend, *random_batch(classes, classes=classes, labels=9, frames=40)))
        logits, target = regime("cold", 60, 20, 30)
        assert_right(backend, make_problem(backend, logits, target, [60], [30]))
        terms = backend.forward(make_problem(backend, logits, target, [60], [30], gradient=False))
        assert_right(backend, make_problem(backend, logits, target, [60], [30]))
        assert terms.ctc.isfinite().all()

    def test_masked_classes(self, backend):
        logits, *rest = random_batch(0, passes=2, batch=2, classes=9, labels=6)
        logits[..., 7:] = -torch.inf
        teacher = torch.randn(1, 2, 30, 9)
        teacher[..., 7:] = -torch.inf
        rest[0] = rest[0].clamp(max=6)
        options = {"teacher": teacher, "distance": "kl", "consistency": "attached"}
        terms, gradient = assert_right_masked(backend, make_problem(backend, logits, *rest, **options))
        assert all(x.isfinite().all() for x in (terms.ctc, terms.kd, terms.consistency, gradient))
        assert (gradient[..., 7:] == 0).all()
        rest[0][1, 2] = 8  # an impossible label
        terms, gradient = compute(backend, make_problem(backend, logits, *rest))
        assert terms.ctc.isinf().tolist() == [[False, True]] * 2 and (gradient[:, 1] == 0).all()

    def test_some_emissions_masked(self, backend):
        logits, *rest = random_batch(3, batch=2, frames=60, classes=9, labels=6)
        generator = torch.Generator().manual_seed(0)
        logits[torch.rand(logits.shape, generator=generator) < 0.3] = -torch.inf
        logits[..., 0] = 0.0
        _, gradient = assert_right(backend, make_problem(backend, logits, *rest))
        assert gradient.isfinite().all()

    @pytest.mark.parametrize("poison", [float("nan"), float("inf")])
    @pytest.mark.parametrize("classes", [5, 9])
    def test_nan_stays_in_its_utterance_and_pass(self, backend, poison, classes):
        logits, *rest = random_batch(0, passes=2, classes=classes, labels=4)
        logits[1, 1, 3, classes - 1] = poison
        problem = make_problem(backend, logits, *rest)
        terms, gradient = compute(backend, problem)
        assert terms.ctc.isnan().tolist() == [[False] * 3, [False, True, False]]
        length = problem.input_lengths[1]
        assert gradient[1, 1, :length].isnan().all() and (gradient[1, 1, length:] == 0).all()
        assert gradient[0].isfinite().all() and gradient[1, [0, 2]].isfinite().all()

    def test_a_coefficient_of_zero_removes_a_term(self, backend):
        logits, *rest = random_batch(0, passes=2, labels=4)
        logits[1, 1, 3, 2] = torch.nan
        rest[2][2] = 8
        rest[1][2] = 1  # cannot be aligned
        problem = make_problem(
            backend,
            logits,
            torch.nn.functional.pad(rest[0], (0, 4), value=1),
            *rest[1:],
            teacher=torch.randn(1, 3, 30, 7),
            distance="kl",
            consistency="attached",
        )
        ctc, kd, consistency = (x.clone() for x in coefficients(problem))
        zero = [torch.zeros_like(x) for x in (ctc, kd, consistency)]
        assert (compute(backend, problem, zero)[1] == 0).all()
        ctc[1, 1] = kd[1, 1] = consistency[1] = 0
        assert compute(backend, problem, (ctc, kd, consistency))[1].isfinite().all()
        ctc[0, 2] = torch.inf
        assert compute(backend, problem, (ctc, kd, consistency))[1].isfinite().all()

    def test_bad_labels_make_only_their_utterance_nan(self, backend):
        for label in (10**12, -(10**12), 7, -1, 0):
            logits, targets, *lengths = random_batch(0)
            targets[1, 2] = label
            compute(backend, make_problem(backend, logits, targets, *lengths))
            backend.raise_fault()  # nobody asked
            problem = make_problem(backend, logits, targets, *lengths, check_labels=True)
            terms, gradient = compute(backend, problem)
            assert terms.ctc[0].isnan().tolist() == [False, True, False]
            assert gradient[0, 1, : lengths[0][1]].isnan().all() and gradient[0, [0, 2]].isfinite().all()
            with pytest.raises(ValueError, match=f"utterance 1: target {label} at position 2 is the blank or out of"):
                backend.raise_fault()
            backend.raise_fault()

    @pytest.mark.parametrize("distance", ["squared", "kl"])
    @pytest.mark.parametrize("temperature", [1.0, 2.5])
    @pytest.mark.parametrize("nonblank", [False, True])
    @pytest.mark.parametrize("teachers", [1, 2])
    def test_distillation(self, backend, distance, temperature, nonblank, teachers):
        logits, *rest = random_batch(0, passes=2, classes=11)
        options = {"distance": distance, "temperature": temperature, "nonblank": nonblank}
        teacher = 2 * torch.randn(teachers, 3, 30, 11, generator=torch.Generator().manual_seed(5))
        for ctc in (True, False):
            assert_right(backend, make_problem(backend, logits, *rest, teacher=teacher, ctc=ctc, **options))

    @pytest.mark.parametrize("consistency", ["attached", "detached"])
    @pytest.mark.parametrize("passes", [2, 3])
    def test_consistency(self, backend, consistency, passes):
        batch = random_batch(0, passes=passes, classes=11)
        for ctc in (True, False):
            assert_right(backend, make_problem(backend, *batch, consistency=consistency, ctc=ctc))

    @pytest.mark.parametrize("classes", [1000, 1025, 1500])
    def test_many_classes_with_all_terms(self, backend, classes):
        logits, *rest = random_batch(0, passes=2, batch=2, frames=9, classes=classes, labels=3)
        options = {"teacher": torch.randn(1, 2, 9, classes), "distance": "kl", "temperature": 2.0}
        assert_right(backend, make_problem(backend, logits, *rest, consistency="attached", **options))

    def test_passes_that_agree_are_exactly_consistent(self, backend):
        logits, *rest = random_batch(0, scale=20.0)
        terms, _ = compute(backend, make_problem(backend, logits.repeat(2, 1, 1, 1), *rest, consistency="attached"))
        assert (terms.consistency == 0).all()

    def test_small_divergences_are_accurate(self, backend):
        logits, *rest = random_batch(0, passes=2, classes=200)
        logits[1] = logits[0] + 1e-3 * logits[1]
        options = {"teacher": logits[1:], "distance": "kl", "consistency": "attached"}
        terms, _ = compute(backend, make_problem(backend, logits, *rest, **options))
        _, kd, consistency, _ = expected(make_problem(backend, logits, *rest, **options))
        torch.testing.assert_close(terms.kd[0].double(), kd[0], rtol=1e-3, atol=0)
        torch.testing.assert_close(terms.consistency.double(), consistency, rtol=1e-3, atol=0)

    @pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -float("inf"), 1e30])
    def test_padding_never_matters(self, backend, garbage):
        logits, targets, *lengths = random_batch(0, passes=2)
        teacher = torch.randn(1, 3, 30, 7)
        options = {"distance": "kl", "consistency": "attached"}
        clean = compute(backend, make_problem(backend, logits, targets, *lengths, teacher=teacher, **options))
        for b in range(3):
            logits[:, b, lengths[0][b] :] = garbage
            teacher[:, b, lengths[0][b] :] = garbage
            targets[b, lengths[1][b] :] = 6
        dirty = compute(backend, make_problem(backend, logits, targets, *lengths, teacher=teacher, **options))
        assert torch.equal(clean[1], dirty[1])
        assert all(torch.equal(a, b) for a, b in zip(clean[0][:3], dirty[0][:3], strict=True))
        assert all((dirty[1][:, b, n:] == 0).all() for b, n in enumerate(lengths[0]))

    def test_an_utterance_does_not_depend_on_its_batch(self, backend):
        logits, targets, inputs, labels = random_batch(0, passes=2, classes=33, labels=33, frames=100)
        teacher = torch.randn(1, 3, 100, 33)
        options = {"distance": "squared", "consistency": "attached"}
        ones = [torch.ones_like(x) for x in coefficients(make_problem(backend, logits, targets, inputs, labels))]
        problem = make_problem(backend, logits, targets, inputs, labels, teacher=teacher, **options)
        together = compute(backend, problem, ones)
        for b in range(3):
            t, s = inputs[b], labels[b]
            problem = make_problem(
                backend,
                # Other numbers of pairs a lane, no dense occupancy, and rows not to be read four classes at a time.
                torch.cat([torch.zeros(1), logits[:, b : b + 1, :t].flatten()])[1:].view(2, 1, int(t), 33),
                targets[b : b + 1, :s],
                [t],
                [s],
                teacher=teacher[:, b : b + 1, :t],
                **options,
            )
            alone = compute(backend, problem, [x[..., b : b + 1].contiguous() for x in ones])
            assert torch.equal(alone[0].ctc[:, 0], together[0].ctc[:, b])
            assert torch.equal(alone[0].kd[:, 0], together[0].kd[:, b])
            assert torch.equal(alone[0].consistency[0], together[0].consistency[b])
            assert torch.equal(alone[1][:, 0], together[1][:, b, :t])

    def test_runs_are_identical(self, backend):
        problem = make_problem(backend, *random_batch(0, classes=40, frames=60))
        first, second = compute(backend, problem), compute(backend, problem)
        assert torch.equal(first[1], second[1]) and torch.equal(first[0].ctc, second[0].ctc)

    def test_without_a_gradient(self, backend):
        logits, *rest = random_batch(0, passes=2)
        options = {"teacher": torch.randn(1, 3, 30, 7), "distance": "squared", "consistency": "attached"}
        with_one, _ = compute(backend, make_problem(backend, logits, *rest, **options))
        terms = backend.forward(make_problem(backend, logits, *rest, gradient=False, **options))
        assert all(torch.equal(a, b.cpu()) for a, b in zip(with_one[:3], terms[:3], strict=True))
        assert terms.rows.shape[2] == 0 and terms.occupancy.shape[2] == 0

    @pytest.mark.parametrize("classes", [7, 8])
    def test_strides(self, backend, classes):
        logits, *rest = random_batch(0, passes=2, classes=classes)
        teacher = torch.randn(1, 3, 30, classes)
        options = {"distance": "kl", "consistency": "attached"}
        right = compute(backend, make_problem(backend, logits, *rest, teacher=teacher, **options))
        for order in ((2, 0, 1, 3), (3, 2, 1, 0)):
            back = [order.index(i) for i in range(4)]
            problem = make_problem(
                backend,
                logits.permute(order).contiguous().permute(back),
                *rest,
                teacher=teacher.permute(order).contiguous().permute(back),
                **options,
            )
            terms, gradient = compute(backend, problem)
            assert torch.equal(gradient, right[1]) and torch.equal(terms.kd, right[0].kd)


def assert_right_masked(backend: Backend, problem: Problem) -> tuple[Terms, Tensor]:
    """As :func:`assert_right`, where autograd makes NaN of masked classes: those are left out of its logits."""
    terms, gradient = compute(backend, problem)
    kept = (problem.logits.cpu() > -torch.inf).flatten(0, 2).any(0)
    kept_problem = make_problem(
        backend,
        problem.logits[..., kept],
        problem.targets,
        problem.input_lengths,
        problem.target_lengths,
        teacher=problem.teacher[..., kept],
        distance=problem.distance,
        consistency=problem.consistency,
    )
    *values, right = expected(kept_problem, coefficients(problem))
    for value, expected_value in zip(terms, values, strict=False):
        torch.testing.assert_close(value.double(), expected_value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient[..., kept].double(), right, rtol=0, atol=1e-5)
    return terms, gradient
