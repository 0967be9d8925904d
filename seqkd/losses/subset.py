"""CSKD: a student for a subset of the teacher's classes learns what the teacher thinks of those alone.

Letters: P passes, B items, T frames or positions, C classes of the teacher, S classes of the student.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqkd.ctc.arguments import check_logits
from seqkd.losses.base import DistillationLoss, check_distance, check_teacher, kl_divergence
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs
from seqkd.losses.tokens import ValidPositions
from seqkd.settings import more_than, share


class SubsetKd(Term):
    """τ² KL(softmax(z_T[S] / τ) ‖ softmax(z_S / τ)), summed over classes and valid positions, averaged over passes.

    S, the teacher's classes that the student has, in the student's order, is ``labels.subset``; without one, all are
    (plain distillation). softmax(z_T[S]) is p_T[S] / Σ p_T[S]: the teacher's other logits do not matter. On a position
    where it has almost nothing on S, this is noise made large: see ``min_mass``. Notes the mean ``mass`` Σ p_T[S]. On
    CTC, keep the blank in S.

    Args:
        temperature: τ. 1 (default) as released.
        min_mass: positions on which the teacher has less than this on S, at τ = 1, are left out. 0 (default) leaves
            none out, as released; the threshold is ours.
        **options: ``weight``, ``layer``, ``other_layer``: see :class:`Term`. The release has .2.

    Raises:
        ValueError: a subset that is not one of the teacher's classes for each of the student's.

    Paper: CSKD, ACCV 2022, 10.1007/978-3-031-26284-5_24 (author code).
    """

    source = "teacher"

    def __init__(self, *, temperature: float = 1.0, min_mass: float = 0.0, **options: object) -> None:
        super().__init__(**options)
        self.temperature, self.min_mass = more_than(0, temperature=temperature), share(min_mass=min_mass)

    def forward(self, student: Outputs, teacher: Outputs, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        part, mass = teacher, torch.ones_like(teacher.logits[..., 0], dtype=student.log_probs.dtype)
        if labels.subset is not None:
            chosen = _checked(labels.subset, teacher.logits.shape[-1], student.logits.shape[-1])
            chosen = chosen.to(teacher.logits.device)
            part = Outputs(teacher.logits.index_select(-1, chosen), teacher.lengths)
            mass = teacher.log_probs.exp().index_select(-1, chosen).sum(-1)
        check_teacher(part.logits, student.logits)
        valid = student.mask.expand_as(mass)  # (1 or P, B, T)
        self.note(mass=mass[valid].mean() if valid.any() else mass.new_zeros(()))
        losses = self.temperature**2 * kl_divergence(
            part.tempered(self.temperature), student.tempered(self.temperature)
        )
        return losses.masked_fill(~(valid & (mass >= self.min_mass)), 0.0).sum(-1).mean(0)


def subset_kd_loss(
    logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    classes: Tensor,
    *,
    kd_weight: float,
    temperature: float = 1.0,
    reduction: str = "mean",
) -> DistillationLoss:
    """Cross-entropy, and :class:`SubsetKd` as ``kd``: hard + a · τ² KL(softmax(z_T[S] / τ) ‖ softmax(z_S / τ)).

    Args:
        logits: (B, S) of the student.
        teacher_logits: (B, C); gets no gradient.
        targets: (B,) of the student's classes, from 0 to S − 1; −100 leaves an item out.
        classes: (S,) which of the teacher's classes each of the student's is.
        kd_weight: a, from 0 on; the hard term keeps the weight 1. The paper has .2.
        temperature: τ.
        reduction: "mean" averages over items, "sum" adds them up, "none" gives (B,).

    Returns:
        The total and its terms ``hard`` and ``kd``, before a. Float64 for float64 logits, else float32.

    Raises:
        ValueError: shapes or types that do not fit, a class or target out of range, a class that is there twice, an
            unknown reduction, a weight that is negative, a temperature that is not positive.

    Paper: CSKD, ACCV 2022, 10.1007/978-3-031-26284-5_24.
    """
    check_logits("logits", logits, "BC")
    check_logits("teacher_logits", teacher_logits, "BC")
    check_distance("kl", temperature)
    chosen = _checked(torch.as_tensor(classes), teacher_logits.shape[1], logits.shape[1]).to(teacher_logits.device)
    tokens = ValidPositions.of(
        logits[:, None], torch.as_tensor(targets)[:, None], ignore_index=-100, reduction=reduction
    )
    part = tokens.fitting("teacher_logits", teacher_logits[:, None].index_select(-1, chosen))

    def kd() -> Tensor:
        theirs, ours = (tokens.log_softmax(one, temperature) for one in (part, logits[:, None]))
        return temperature**2 * kl_divergence(theirs, ours)

    loss = tokens.weigh(
        hard=(1.0, lambda: tokens.cross_entropy(tokens.log_softmax(logits[:, None]))), kd=(kd_weight, kd)
    )
    if reduction != "none":
        return loss
    return DistillationLoss(loss.total[:, 0], {name: value[:, 0] for name, value in loss.terms.items()})


def _checked(subset: Tensor, teacher_classes: int, student_classes: int) -> Tensor:
    """Return, (S,) int64, one of the teacher's classes for each of the student's."""
    if subset.dim() != 1 or len(subset) != student_classes:
        raise ValueError(
            f"the subset has shape {tuple(subset.shape)} and the student {student_classes} classes; expected one "
            "of the teacher's classes for each"
        )
    wrong = (subset < 0) | (subset >= teacher_classes)
    if wrong.any():
        raise ValueError(
            f"the subset has class {int(subset[wrong][0])}, outside the teacher's [0, {teacher_classes}); is it that "
            "of another teacher?"
        )
    if len(subset.unique()) < len(subset):
        raise ValueError("the subset has a class twice; expected different classes of the teacher")
    return subset.long()
