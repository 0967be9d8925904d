"""Transformed teacher matching (TTM): a temperature on the teacher's side alone.

Letters: P passes, B items, T frames or target positions, C classes.
"""

from __future__ import annotations

from torch import Tensor

from seqkd.losses.base import check_teacher, kl_divergence
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs
from seqkd.settings import more_than


class Ttm(Term):
    """Σ_t w KL(p_T^γ / Σ_c p_T^γ ‖ p_S) over valid frames or positions, γ = 1 / τ, averaged over passes.

    The student has no temperature and there is no τ². The power transform of the teacher's p_T is softmax(z_T / τ).
    w = 1 (TTM), or w = Σ_c p_T^γ (WTTM), from 1 for a teacher that is sure to C^(1 − γ) for a uniform one, for τ > 1:
    smooth targets count more. Notes the mean ``weight``.

    With q the student's p_S, and R the Rényi entropy of order γ, CE(p_T^γ, q) = τ CE(p_T^γ, q^γ) − (τ − 1) R(q): TTM
    is ordinary distillation that also rewards the student's entropy.

    Args:
        temperature: τ = 1 / γ of the teacher. The default is that of the author code's example (γ = 0.1).
        weighted: True is WTTM.
        **options: ``weight``, ``layer``, ``other_layer``: see :class:`Term`. The paper's β is the weight, beside a
            cross-entropy of weight 1.

    Paper: Zheng and Yang, ICLR 2024, arXiv 2402.11148. Both forms are as in its author code.
    """

    source = "teacher"

    def __init__(self, *, temperature: float = 10.0, weighted: bool = False, **options: object) -> None:
        super().__init__(**options)
        self.temperature, self.weighted = more_than(0, temperature=temperature), bool(weighted)

    def forward(self, student: Outputs, teacher: Outputs, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,) in nats."""
        check_teacher(teacher.logits, student.logits)
        losses = kl_divergence(teacher.tempered(self.temperature), student.log_probs)  # (P, B, T)
        if self.weighted:
            weight = (teacher.log_probs / self.temperature).logsumexp(-1).exp()  # (1 or P, B, T)
            valid = student.mask.expand_as(weight)
            self.note(weight=weight.masked_fill(~valid, 0.0).sum() / valid.sum().clamp(min=1))
            losses = weight * losses
        return losses.masked_fill(~student.mask, 0.0).sum(-1).mean(0)
