"""A small ragged batch, and every objective behind one signature."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seqkd.losses import (
    DistillationLoss,
    best_path_ctc_loss,
    cons_kd_loss,
    ctc_kd_loss,
    delayed_kd_loss,
    guided_ctc_loss,
    inter_ctc_kd_loss,
    nbest_ctc_loss,
)

torch.set_num_threads(1)


@dataclass(frozen=True)
class Batch:
    """Student (P, B, T, C), teacher (B, T, C), targets (B, S), lengths (B,)."""

    student: Tensor
    teacher: Tensor
    targets: Tensor
    input_lengths: Tensor
    target_lengths: Tensor

    @property
    def common(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.targets, self.input_lengths, self.target_lengths

    def but(self, **changes) -> "Batch":
        return replace(self, **changes)

    def one(self, i: int) -> "Batch":
        """Utterance i alone, without its padding."""
        n, s = self.input_lengths[i], self.target_lengths[i]
        return Batch(
            self.student[:, i : i + 1, :n],
            self.teacher[i : i + 1, :n],
            self.targets[i : i + 1, :s],
            self.input_lengths[i : i + 1],
            self.target_lengths[i : i + 1],
        )


def make_batch(seed=0, passes=2, frames=7, classes=4, dtype=torch.double) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        torch.randn(passes, 3, frames, classes, generator=generator).to(dtype),
        2 * torch.randn(3, frames, classes, generator=generator).to(dtype),
        torch.randint(1, classes, (3, 3), generator=generator),
        torch.tensor([frames, frames - 1, frames - 3]),
        torch.tensor([3, 2, 0]),
    )


def cons(**fixed):
    def loss(batch: Batch, kd_weight=0.7, consistency_weight=0.4, **options) -> DistillationLoss:
        weights = {"kd_weight": kd_weight, "consistency_weight": consistency_weight}
        return cons_kd_loss(batch.student, batch.teacher, *batch.common, **weights, **fixed, **options)

    return loss


def one_pass(function, **fixed):
    def loss(batch: Batch, kd_weight=0.7, **options) -> DistillationLoss:
        return function(batch.student[0], batch.teacher, *batch.common, kd_weight=kd_weight, **fixed, **options)

    return loss


def inter(batch: Batch, kd_weight=0.7, inter_kd_weight=0.3, inter_ctc_weight=0.5, **options):
    return inter_ctc_kd_loss(
        batch.student[0],
        list(batch.student[1:]),
        batch.teacher,
        *batch.common,
        kd_weight=kd_weight,
        inter_kd_weight=inter_kd_weight,
        inter_ctc_weight=inter_ctc_weight,
        **options,
    )


def nbest(batch: Batch, kd_weight=0.7, **options):
    size = len(batch.targets)
    hypotheses = torch.tensor([[1, 2, -1], [3, -1, -1]]).expand(size, 2, 3)
    scores = torch.tensor([[-0.2, -1.5], [-1.0, -torch.inf], [-1.0, -1.0]])[:size]
    return nbest_ctc_loss(
        batch.student[0],
        hypotheses,
        torch.tensor([[2, 1]]).expand(size, 2),
        scores,
        *batch.common,
        kd_weight=kd_weight,
        **options,
    )


OBJECTIVES: dict[str, Callable[..., DistillationLoss]] = {
    "cons_squared": cons(distance="squared"),
    "cons_kl": cons(distance="kl", temperature=2.0),
    "cons_detached": cons(detach_consistency=True),
    "cons_nonblank": cons(distance="kl", select="nonblank"),
    "cons_squared_composed": cons(backend="torch"),
    "cons_kl_composed": cons(distance="kl", temperature=2.0, select="nonblank", backend="torch"),
    "cons_detached_composed": cons(detach_consistency=True, backend="torch"),
    "ctc_kd": one_pass(ctc_kd_loss),
    "guided_posterior": one_pass(guided_ctc_loss),
    "guided_log": one_pass(guided_ctc_loss, variant="log"),
    "best_path": one_pass(best_path_ctc_loss),
    "delayed_min": one_pass(delayed_kd_loss, max_delay=2),
    "delayed_mean": one_pass(delayed_kd_loss, max_delay=5, match="mean"),
    "delayed_softmin": one_pass(delayed_kd_loss, max_delay=2, match="softmin"),
    "inter": inter,
    "nbest": nbest,
}


def gradients(loss: Callable[[Batch], DistillationLoss], batch: Batch) -> tuple[DistillationLoss, Tensor]:
    """The loss, and the gradient of its total with respect to the student's logits."""
    student = batch.student.clone().requires_grad_()
    result = loss(batch.but(student=student))
    return result, torch.autograd.grad(result.total.sum(), student)[0]
