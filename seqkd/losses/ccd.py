"""Counterpart distillation (CCD): two views of each item, the augmented one weighed by how the teacher agrees on both.

Letters: P passes, B items, T frames or target positions, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from seqkd.ctc.frames import at_least_float32
from seqkd.errors import ConfigError
from seqkd.losses.base import check_teacher
from seqkd.losses.frame_kd import frame_distance
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs
from seqkd.settings import at_least, more_than, one_of

WEIGHTS = ("cosine", "constant")
VARIANTS = ("centered", "released")


class CounterpartKd(Term):
    """½ [Σ_t τ² KL(x) + Σ_t w τ² KL(x̃)] over valid frames or positions, with w = 1 + cos(z_T(x), z_T(x̃)).

    KL(x) is KL(p_T^τ ‖ p_S^τ) of the original view, KL(x̃) of its augmented counterpart. Pass 0 of student and teacher
    alike is the original, pass 1 the counterpart, with the same frames in both. w has no gradient; it is from 0, where
    the teacher contradicts itself, to 2, where it agrees. Ordinary distillation on both views, as ``KD + JDA``, is
    `FrameKd` with two passes. Notes the mean ``weight`` w over valid frames.

    Equal views have w = 2, that is 1.5 times the weight of ordinary distillation: compare with ``weight_of="constant"``
    at the noted mean, or use ``normalize``.

    Args:
        temperature: τ of both.
        weight_of: "cosine" (default), or "constant", the control.
        constant: w for "constant", at least 0.
        variant: "centered" (default) takes the cosine of logits less their mean over classes, so that a constant added
            to the logits changes nothing, and stored log-probabilities give what live logits give; "released" takes raw
            logits, as the author code does: with 10 added to all, w is near 2 whatever the views are.
        normalize: divide w by its mean over the valid frames of the batch.
        **options: ``weight``, ``layer``, ``other_layer``: see :class:`Term`. The author code's loss is a weight of
            1, beside a cross-entropy averaged over both views.

    Raises:
        ConfigError: student or teacher have not two passes.

    Papers: ACCV 2022, 10.1007/978-3-031-26284-5_31; Neurocomputing 2024, 10.1016/j.neucom.2024.127516. "released" is
    the formula of the author code. Chosen: "centered", and ``normalize``.
    """

    source = "teacher"
    passes = 2

    def __init__(
        self,
        *,
        temperature: float = 4.0,
        weight_of: str = "cosine",
        constant: float = 1.0,
        variant: str = "centered",
        normalize: bool = False,
        **options: object,
    ) -> None:
        super().__init__(**options)
        self.temperature = more_than(0, temperature=temperature)
        self.weight_of, self.variant = one_of(WEIGHTS, weight_of=weight_of), one_of(VARIANTS, variant=variant)
        self.constant, self.normalize = at_least(0, constant=constant), bool(normalize)

    def forward(self, student: Outputs, teacher: Outputs, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,) in nats."""
        for whose, outputs in (("student", student), ("teacher", teacher)):
            if len(outputs.logits) != 2:
                raise ConfigError(
                    f"the {whose}'s logits are {tuple(outputs.logits.shape)}; CounterpartKd expects two passes, "
                    f"(2, B, T, C): let the {whose} see the original and its augmented counterpart"
                )
        check_teacher(teacher.logits, student.logits)
        original, counterpart = frame_distance(teacher, student, "kl", self.temperature)  # (B, T) each
        weight = self._weight(teacher, student.mask)
        return 0.5 * (original + weight * counterpart).masked_fill(~student.mask, 0.0).sum(-1)

    def _weight(self, teacher: Outputs, mask: Tensor) -> Tensor:
        """Return w of each position, without gradient: (B, T)."""
        logits = at_least_float32(teacher.logits).masked_fill(~mask[..., None], 0.0)
        if self.weight_of == "constant":
            weight = torch.full_like(logits[0, ..., 0], self.constant)
        else:
            weight = 1 + agreement(logits, center=self.variant == "centered")
        mean = weight.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)
        if self.normalize:
            weight, mean = weight / mean.where(mean > 0, torch.ones_like(mean)), (mean > 0).to(mean)
        self.note(weight=mean)
        return weight


def agreement(logits: Tensor, *, center: bool = True) -> Tensor:
    """Return the cosine (...) over classes of logits[0] and logits[1], of (2, ..., C);

    ``center`` takes their means away.

    It is 0 where one of them is 0, as the centred logits of a uniform distribution are.
    """
    if center:
        logits = logits - logits.mean(-1, keepdim=True)
    return cosine_similarity(logits[0], logits[1], dim=-1)
