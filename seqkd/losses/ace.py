"""Adaptive cross-entropy (ACE): the teacher's distribution where the teacher is right, and the label elsewhere.

Letters: P passes, B items, T target positions (1 for a classifier), C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqkd.losses.base import check_teacher
from seqkd.losses.gold import class_weighted, gold_positions, mixed_in, picked
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs
from seqkd.losses.tokens import dot
from seqkd.settings import one_of

MODES = ("hard", "blend")


class Ace(Term):
    """Σ_t −Σ_c g_c log p_S,c over valid positions, averaged over passes, with g = a p_T + (1 − a) one-hot of the label.

    It stands in the place of `CrossEntropy` and of a distillation term, not beside them: the label is in it. The
    gradient for the student's logits is p_S − g; plain distillation's is p_S − p_T, which draws the student away from
    the label where the teacher is wrong.

    Notes the means over valid positions of ``trust``, which is a, and of ``right``, the share of positions at which the
    teacher's argmax is the label.

    Args:
        mode: "hard" (default): a = 1 where the teacher's argmax is the label, else 0; "blend": a = p_T of the label.
        **options: ``weight``, ``layer``, ``other_layer``: see :class:`Term`.

    Labels mixed by MixUp and class weights are as in `CrossEntropy`: it is linear in a mixture, of which each part has
    its own a, and weighs log p_S of each class.

    Raises:
        ConfigError: labels that are not one a position, as beside CTC.

    Paper: Sensors 2020, 10.3390/s20164616. Established by its abstract: one-hot labels and the teacher's probability
    map are used adaptively, so that false knowledge is not passed on. The paper's exact form is not public. Chosen:
    both modes.
    """

    source = "teacher"

    def __init__(self, *, mode: str = "hard", **options: object) -> None:
        super().__init__(**options)
        self.mode = one_of(MODES, mode=mode)

    def forward(self, student: Outputs, teacher: Outputs, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,) in nats."""
        check_teacher(teacher.logits, student.logits)
        targets, valid = gold_positions(labels, student, "Ace")
        theirs, ours = teacher.log_probs.exp(), class_weighted(student.log_probs, labels)
        soft, best = -dot(theirs, ours), theirs.argmax(-1)  # (P, B, T), (1 or P, B, T)

        def amount(of: Tensor) -> Tensor:
            return picked(theirs, of) if self.mode == "blend" else (best == of).to(theirs)

        def losses(of: Tensor) -> Tensor:
            return torch.lerp(-picked(ours, of), soft, amount(of).to(soft))

        count = (valid.sum() * len(theirs)).clamp(min=1)
        mean = lambda values: values.masked_fill(~valid, 0.0).sum() / count  # noqa: E731
        self.note(trust=mean(amount(targets)), right=mean((best == targets).to(theirs)))
        return mixed_in(losses, targets, labels).masked_fill(~valid, 0.0).sum(-1).mean(0)
