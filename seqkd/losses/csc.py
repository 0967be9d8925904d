"""CSC: match how every pair of frames, and of channels, resemble each other.

Letters: P passes, B items, T frames, D features.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

from seqkd.ctc.frames import at_least_float32
from seqkd.losses.objective import Features, Labels, Term
from seqkd.settings import at_least


class ChannelSpatial(Term):
    """‖A_T − A_S‖² / T² over pairs of frames, and ‖A_T − A_S‖² / D² over pairs of channels, of one layer of both
    networks.

    A holds the cosines of unit frame vectors (T, T), or of unit channel vectors over the valid frames (D, D). Averaged
    over passes. Teacher and student may differ in D where ``channels`` is 0.

    Args:
        channels: weight of the pairs of channels against the pairs of frames; 0 leaves them out.
        **options: ``weight``, ``layer``, ``other_layer``: see :class:`Term`.

    Raises:
        ValueError: the layers differ in D, and ``channels`` is not 0.

    Paper: Sensors 2020, 10.3390/s20164616. The exact form is not public; this follows its abstract.
    """

    source = "teacher"

    def __init__(self, *, channels: float = 1.0, **options: object) -> None:
        super().__init__(**options)
        self.channels = at_least(0, channels=channels)

    def forward(self, student: Features, teacher: Features, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        ours, theirs = (
            at_least_float32(student.values),
            at_least_float32(teacher.values),
        )  # (P, B, T, D), 0 where padded
        spatial = _distance(normalize(ours, dim=-1), normalize(theirs, dim=-1)) / student.mask.sum(1) ** 2
        if self.channels == 0:
            return spatial.mean(0)
        if ours.shape[-1] != theirs.shape[-1]:
            raise ValueError(
                f"the layers have {ours.shape[-1]} and {theirs.shape[-1]} features, whose pairs cannot be compared; "
                "choose layers of one width, or channels=0"
            )
        channel = _distance(normalize(ours.mT, dim=-1), normalize(theirs.mT, dim=-1)) / ours.shape[-1] ** 2
        return (spatial + self.channels * channel).mean(0)


def _distance(ours: Tensor, theirs: Tensor) -> Tensor:
    """‖x xᵀ − y yᵀ‖² (P, B) of rows (P, B, N, M)."""
    return (ours @ ours.mT - theirs @ theirs.mT).square().sum((-2, -1))
