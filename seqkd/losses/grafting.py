"""Network grafting's loss: unit logit vectors of a grafted network and of its teacher are to agree.

Letters: P passes, B items, T frames or positions, C classes.
"""

from __future__ import annotations

from torch import Tensor

from seqkd.ctc.frames import at_least_float32
from seqkd.losses.base import check_teacher
from seqkd.losses.features import unit
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs


class GraftMatch(Term):
    """‖ẑ_s − ẑ_t‖² = 2 (1 − cos(z_s, z_t)), ẑ = z / ‖z‖, summed over valid positions, averaged over passes.

    From 0 to 4 a position. It needs no labels, and ignores the scale of either's logits. As published it is summed
    over a batch: learning rates published for it are for that, and go with the batch size.

    Args:
        center: True (default; ours) takes the mean of each logit vector away first, so that a constant added to
            logits, which changes no probability, does not change the loss. False is the released form, on raw logits.
        **options: ``weight``, ``layer``, ``other_layer``: see :class:`Term`.

    Raises:
        ValueError: teacher and student differ in (B, T, C).

    Paper: network grafting, AAAI 2021, 10.1609/aaai.v35i3.16356 (author code); used by 10.1109/icaice54393.2021.00127.
    """

    source = "teacher"

    def __init__(self, *, center: bool = True, **options: object) -> None:
        super().__init__(**options)
        self.center = bool(center)

    def forward(self, student: Outputs, teacher: Outputs, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        check_teacher(teacher.logits, student.logits)
        ours, theirs = (self._unit(one.logits, student.mask) for one in (student, teacher))
        return (ours - theirs).square().sum((-2, -1)).mean(0)

    def _unit(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Scale each frame to a vector of length 1: (P, B, T, C), 0 on padded frames."""
        logits = at_least_float32(logits).masked_fill(~mask[..., None], 0.0)
        return unit(logits - logits.mean(-1, keepdim=True) if self.center else logits)
