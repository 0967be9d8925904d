"""CSC: match how every pair of frames, and of channels, resemble each other.

Letters: P passes, B items, T frames, D features.
"""

from __future__ import annotations

from torch import Tensor

from seqkd.errors import ConfigError
from seqkd.losses.base import whole
from seqkd.losses.features import as_features, unit
from seqkd.losses.objective import Features, Labels, Term
from seqkd.settings import at_least, one_of

MODES = ("apart", "joint")


class ChannelSpatial(Term):
    """How frames, and channels, of a layer resemble each other, in both networks. Averaged over passes.

    - "apart" (default): ‖A_T − A_S‖² / T² over pairs of frames, and ‖A_T − A_S‖² / D² over pairs of channels. A holds
      the cosines of unit frame vectors (T, T), or of unit channel vectors over the valid frames (D, D). A vector of
      zeros has no direction: its cosines are 0, and it gets no gradient. An item without frames counts 0.
    - "joint": ‖v_T v_Tᵀ − v_S v_Sᵀ‖², v all T · D values of an item in a row: every cell of the layer against every
      other, frames and channels together. Nothing of that size is made. The values are as they are, so that their scale
      counts, in its fourth power.

    Args:
        mode: "apart" or "joint".
        channels: of "apart": weight of the pairs of channels against the pairs of frames; 0 leaves them out. With 0,
            teacher and student may differ in D.
        stride: of "apart": every how manieth frame takes part in the pairs of frames, from the first on. They take
            (T / stride)² floats an item.
        **options: ``weight``, ``layer``, ``other_layer``: see :class:`Term`.

    Raises:
        ConfigError: a setting out of range.
        ValueError: the layers differ in T; or in D, in mode "joint" or where ``channels`` is not 0.

    Paper: Sensors 2020, 10.3390/s20164616. The exact form is not public; this follows its abstract.
    """

    source = "teacher"
    per_item = True

    def __init__(self, *, mode: str = "apart", channels: float = 1.0, stride: int = 1, **options: object) -> None:
        super().__init__(**options)
        self.mode, self.channels = one_of(MODES, mode=mode), at_least(0, channels=channels)
        self.stride = whole(1, stride=stride)
        if mode == "joint" and stride != 1:
            raise ConfigError(f"stride is {stride}; expected 1 where mode is joint, which makes no pairs of frames")

    def forward(self, student: Features, teacher: Features, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        ours, theirs = as_features(student).values, as_features(teacher).values  # (P, B, T, D), 0 where padded
        if ours.shape[2] != theirs.shape[2]:
            raise ValueError(
                f"the layers have {ours.shape[2]} and {theirs.shape[2]} frames, whose pairs cannot be compared; choose "
                "layers of one frame rate"
            )
        if (self.channels or self.mode == "joint") and ours.shape[-1] != theirs.shape[-1]:
            raise ValueError(
                f"the layers have {ours.shape[-1]} and {theirs.shape[-1]} features, whose pairs cannot be compared; "
                "choose layers of one width, or channels=0 in mode apart"
            )
        if self.mode == "joint":
            return _joint(ours.flatten(2), theirs.flatten(2)).mean(0)
        frames = student.mask[:, :: self.stride].sum(1).clamp(min=1)  # (B,)
        spatial = _distance(unit(ours[:, :, :: self.stride]), unit(theirs[:, :, :: self.stride])) / frames**2
        if self.channels == 0:
            return spatial.mean(0)
        channel = _distance(unit(ours.mT), unit(theirs.mT)) / ours.shape[-1] ** 2
        return (spatial + self.channels * channel).mean(0)


def _distance(ours: Tensor, theirs: Tensor) -> Tensor:
    """‖x xᵀ − y yᵀ‖² (P, B) of rows (P, B, N, M)."""
    return (ours @ ours.mT - theirs @ theirs.mT).square().sum((-2, -1))


def _joint(ours: Tensor, theirs: Tensor) -> Tensor:
    """‖y yᵀ − x xᵀ‖² (P, B) of vectors (P, B, N): ‖x‖⁴ + ‖y‖⁴ − 2 (x · y)².

    Written with d = x − y, so that near each other no large numbers are subtracted: (d · (x + y))² + 2 ‖y‖² ‖d⊥‖², d⊥
    being what of d is at right angles to y.
    """
    apart = ours - theirs
    along = unit(theirs)
    across = apart - along * (apart * along).sum(-1, keepdim=True)
    lengths = (apart * (ours + theirs)).sum(-1).square()
    return lengths + 2 * theirs.square().sum(-1) * across.square().sum(-1)
