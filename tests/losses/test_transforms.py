"""Every loss under every transform of torch's: a table, made of `seqkd.losses` itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, jacrev, vmap
from torch.utils.checkpoint import checkpoint

import seqkd.losses
from seqkd.ctc import cpu
from seqkd.losses import SparsePosteriors

torch.set_num_threads(1)
BATCH, FRAMES, CLASSES = 3, 9, 5
generator = torch.Generator().manual_seed(0)
LOGITS = torch.randn(BATCH, FRAMES, CLASSES, generator=generator, dtype=torch.double)
TEACHER = torch.randn(BATCH, FRAMES, CLASSES, generator=generator, dtype=torch.double)
SECOND = torch.randn(BATCH, FRAMES, CLASSES, generator=generator, dtype=torch.double)
KEPT = TEACHER.softmax(-1).topk(2)
# What a batch has beside the logits of the student, utterances first.
DATA = {
    "teacher": TEACHER,
    "second": SECOND,
    "targets": torch.tensor([[1, 2, 2], [3, 1, 0], [4, 0, 0]]),
    "frames": torch.tensor([9, 8, 5]),
    "labels": torch.tensor([3, 2, 1]),
    "positions": torch.randint(CLASSES, (BATCH, FRAMES), generator=generator).index_fill(1, torch.tensor([8]), -100),
    "classes": KEPT.indices,
    "probs": KEPT.values,
    "tail": 1 - KEPT.values.sum(-1),
    "hypotheses": torch.tensor([[[1, 2], [3, 3]], [[1, 1], [2, 0]], [[4, 0], [1, 0]]]),
    "hypothesis_lengths": torch.tensor([[2, 2], [2, 1], [1, 1]]),
    "scores": torch.tensor([[-0.1, -1.0], [-0.5, -0.7], [-0.2, -2.0]]),
}
BACKENDS = ["torch", "reference", *(["cpu"] if cpu.available()[0] else [])]


def alike(d: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    return d["targets"], d["frames"], d["labels"]


def book(d: dict[str, Tensor]) -> SparsePosteriors:
    return SparsePosteriors(d["classes"], d["probs"], d["tail"])


def ctc(z: Tensor, d: dict[str, Tensor], reduction: str, backend: str) -> Tensor:
    return seqkd.losses.ctc_loss(z, *alike(d), reduction=reduction, backend=backend)


def ctc_kd(z: Tensor, d: dict[str, Tensor], reduction: str, backend: str = "auto") -> Tensor:
    options = {"kd_weight": 0.7, "distance": "kl", "reduction": reduction, "backend": backend}
    return seqkd.losses.ctc_kd_loss(z, d["teacher"], *alike(d), **options).total


def cons_kd(z: Tensor, d: dict[str, Tensor], reduction: str, backend: str = "auto") -> Tensor:
    options = {"kd_weight": 0.7, "consistency_weight": 0.3, "reduction": reduction, "backend": backend}
    return seqkd.losses.cons_kd_loss(torch.stack([z, d["second"] - z]), d["teacher"], *alike(d), **options).total


def beside(name: str, z: Tensor, d: dict[str, Tensor], reduction: str, **options: object) -> Tensor:
    loss = getattr(seqkd.losses, name)
    return loss(z, d["teacher"], *alike(d), kd_weight=0.7, reduction=reduction, **options).total


def sparse_ctc(z: Tensor, d: dict[str, Tensor], reduction: str, **options: object) -> Tensor:
    return seqkd.losses.sparse_ctc_kd_loss(z, book(d), *alike(d), kd_weight=0.7, reduction=reduction, **options).total


def nbest(z: Tensor, d: dict[str, Tensor], reduction: str) -> Tensor:
    hypotheses = d["hypotheses"], d["hypothesis_lengths"], d["scores"]
    return seqkd.losses.nbest_ctc_loss(z, *hypotheses, *alike(d), kd_weight=0.7, reduction=reduction).total


def inter(z: Tensor, d: dict[str, Tensor], reduction: str) -> Tensor:
    weights = {"kd_weight": 0.7, "inter_kd_weight": 0.3, "inter_ctc_weight": 0.5}
    inner = [z * 2, d["second"] - z]
    return seqkd.losses.inter_ctc_kd_loss(z, inner, d["teacher"], *alike(d), **weights, reduction=reduction).total


def by_position(name: str, z: Tensor, d: dict[str, Tensor], reduction: str, *more: str, **options: object) -> Tensor:
    loss = getattr(seqkd.losses, name)
    found = loss(z, d["positions"], *(d[key] for key in more), reduction=reduction, **options).total
    return found.sum(-1) if reduction == "none" else found


def book_kd(z: Tensor, d: dict[str, Tensor], reduction: str) -> Tensor:
    found = seqkd.losses.book_kd_loss(z, d["positions"], book(d), kd_weight=0.7, reduction=reduction).total
    return found.sum(-1) if reduction == "none" else found


def sparse_kd(z: Tensor, d: dict[str, Tensor], reduction: str) -> Tensor:
    found = seqkd.losses.sparse_kd_loss(z, book(d), reduction=reduction, tail="ghost")
    return found.sum(-1) if reduction == "none" else found


def r_drop(z: Tensor, d: dict[str, Tensor], reduction: str) -> Tensor:
    both = torch.stack([z, d["second"] - z])
    found = seqkd.losses.r_drop_loss(both, d["positions"], consistency_weight=0.3, reduction=reduction).total
    return found.sum(-1) if reduction == "none" else found


def taught(name: str, key: str, **options: object) -> Callable[..., Tensor]:
    return lambda z, d, reduction: by_position(name, z, d, reduction, key, **options)


def soft(z: Tensor, d: dict[str, Tensor], reduction: str) -> Tensor:
    probs = {**d, "probabilities": d["teacher"].softmax(-1)}
    return by_position("deep_interactive_loss", z, probs, reduction, "probabilities")


LOSSES: dict[str, Callable[..., Tensor]] = {
    **{f"ctc_loss:{name}": partial(ctc, backend=name) for name in BACKENDS},
    **{f"ctc_kd_loss:{name}": partial(ctc_kd, backend=name) for name in BACKENDS},
    **{f"cons_kd_loss:{name}": partial(cons_kd, backend=name) for name in BACKENDS},
    "guided_ctc_loss": partial(beside, "guided_ctc_loss"),
    "best_path_ctc_loss": partial(beside, "best_path_ctc_loss"),
    "delayed_kd_loss": partial(beside, "delayed_kd_loss", max_delay=2, match="mean"),
    "sparse_ctc_kd_loss": sparse_ctc,
    "sparse_ctc_kd_loss:adjusted": partial(sparse_ctc, adjust=True, tail="ghost"),
    "nbest_ctc_loss": nbest,
    "inter_ctc_kd_loss": inter,
    "adaptive_label_smoothing_loss": taught("adaptive_label_smoothing_loss", "teacher"),
    "adaptive_label_smoothing_loss:fused": taught("adaptive_label_smoothing_loss", "teacher", backend="fused"),
    "uniform_label_smoothing_loss": partial(by_position, "uniform_label_smoothing_loss"),
    "confidence_penalty_loss": partial(by_position, "confidence_penalty_loss", penalty_weight=0.3),
    "tf_kd_self_loss": taught("tf_kd_self_loss", "teacher", kd_weight=0.3),
    "tf_kd_reg_loss": partial(by_position, "tf_kd_reg_loss", kd_weight=0.3),
    "book_kd_loss": book_kd,
    "book_kd_loss:dense": taught("book_kd_loss", "teacher", kd_weight=0.7),
    "deep_interactive_loss": soft,
    "r_drop_loss": r_drop,
    "sparse_kd_loss": sparse_kd,
}


def test_the_table_has_every_loss():
    public = {name for name in seqkd.losses.__all__ if name.endswith("_loss")}
    assert public == {name.split(":")[0] for name in LOSSES}


@pytest.fixture(params=LOSSES)
def loss(request: pytest.FixtureRequest) -> Callable[..., Tensor]:
    return LOSSES[request.param]


def one(loss: Callable[..., Tensor], z: Tensor, d: dict[str, Tensor]) -> Tensor:
    """The loss of one utterance alone."""
    return loss(z[None], {name: x[None] for name, x in d.items()}, "sum")


def under_grad(loss: Callable[..., Tensor]) -> Tensor:
    return grad(lambda z: loss(z, DATA, "sum"))(LOGITS)


def under_vmap_of_grad(loss: Callable[..., Tensor]) -> Tensor:
    return vmap(grad(partial(one, loss)))(LOGITS, DATA)


def under_grad_of_vmap(loss: Callable[..., Tensor]) -> Tensor:
    return grad(lambda z: vmap(partial(one, loss))(z, DATA).sum())(LOGITS)


def under_jacrev(loss: Callable[..., Tensor]) -> Tensor:
    return jacrev(lambda z: loss(z, DATA, "none"))(LOGITS).sum(0)


def under_is_grads_batched(loss: Callable[..., Tensor]) -> Tensor:
    z = LOGITS.clone().requires_grad_()
    each = torch.eye(BATCH, dtype=torch.double)
    return torch.autograd.grad(loss(z, DATA, "none"), z, each, is_grads_batched=True)[0].sum(0)


def under_compile(loss: Callable[..., Tensor]) -> Tensor:
    torch._dynamo.reset()
    z = LOGITS.clone().requires_grad_()
    torch.compile(lambda z: loss(z, DATA, "sum"), fullgraph=True, backend="aot_eager")(z).backward()
    return z.grad


def under_checkpoint(loss: Callable[..., Tensor]) -> Tensor:
    z = LOGITS.clone().requires_grad_()
    checkpoint(lambda z: loss(z, DATA, "sum"), z, use_reentrant=False).backward()
    return z.grad


def beside_inference_mode(loss: Callable[..., Tensor]) -> Tensor:
    """The teacher, the lengths, all but the student made where nothing needs a gradient."""
    with torch.inference_mode():
        data = {name: x.clone() for name, x in DATA.items()}
    z = LOGITS.clone().requires_grad_()
    loss(z, data, "sum").backward()
    return z.grad


def after_changes(loss: Callable[..., Tensor]) -> Tensor:
    """Whoever made lengths and targets, as arrays, fills them anew before the gradient is asked for."""
    changed = ("targets", "frames", "labels", "positions", "hypotheses", "hypothesis_lengths", "classes")
    arrays = {name: DATA[name].numpy().copy() for name in changed}
    z = LOGITS.clone().requires_grad_()
    found = loss(z, {**DATA, **{name: torch.from_numpy(x) for name, x in arrays.items()}}, "sum")
    for array in arrays.values():
        array[:] = 2**33
    found.backward()
    return z.grad


def after_changes_in_place(loss: Callable[..., Tensor]) -> Tensor:
    """As with ``lengths -= 1`` for a second loss."""
    changed = ("targets", "frames", "labels", "positions", "hypotheses", "hypothesis_lengths")
    data = {**DATA, **{name: DATA[name].clone() for name in changed}}
    z = LOGITS.clone().requires_grad_()
    found = loss(z, data, "sum")
    for name in changed:
        data[name].sub_(1)
    found.backward()
    return z.grad


TRANSFORMS = [
    *(under_grad, under_vmap_of_grad, under_grad_of_vmap, under_jacrev, under_is_grads_batched, under_compile),
    *(under_checkpoint, beside_inference_mode, after_changes, after_changes_in_place),
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda f: f.__name__)
def test_the_gradient_is_the_same(loss, transform, request):
    if transform is under_compile and ":reference-" in request.node.name:
        pytest.skip("loops over frames: a definition to compare with, which nobody compiles")
    z = LOGITS.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(z, DATA, "sum"), z)
    torch.testing.assert_close(transform(loss), expected, rtol=1e-9, atol=1e-11)


def test_values_are_mapped(loss):
    torch.testing.assert_close(vmap(partial(one, loss))(LOGITS, DATA), loss(LOGITS, DATA, "none"))


def test_exports(loss):
    class Model(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return loss(z, DATA, "sum")

    program = torch.export.export(Model(), (LOGITS,))
    torch.testing.assert_close(program.module()(LOGITS + 1), loss(LOGITS + 1, DATA, "sum"))
