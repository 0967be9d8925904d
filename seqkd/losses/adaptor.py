"""What makes a student's layer as wide as the teacher's, so that they can be compared.

Letters: P passes, B items, T frames, D features.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import batch_norm

from seqkd.errors import ConfigError
from seqkd.losses.features import as_features, pooled
from seqkd.losses.outputs import Features, Outputs


class Adaptor(nn.Module):
    """A linear map of each frame (a 1×1 convolution), BatchNorm over the valid frames of a batch, ReLU.

    Args:
        width: D of the student.
        other_width: D of the teacher.
    """

    def __init__(self, width: int, other_width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, other_width, bias=False)  # BatchNorm has the bias
        self.norm = nn.BatchNorm1d(other_width)

    @classmethod
    def between(cls, student: Features | Outputs, teacher: Features | Outputs, wanted: bool | None) -> Adaptor | None:
        """One on the student's device, if ``wanted``; for None, if the widths differ.

        Raises:
            ConfigError: they differ, and none is wanted.
        """
        ours, theirs = as_features(student).values, as_features(teacher).values
        differ = ours.shape[-1] != theirs.shape[-1]
        if wanted is False and differ:
            raise ConfigError(
                f"adaptor is False, but the layers have {ours.shape[-1]} and {theirs.shape[-1]} features; choose "
                "layers of one width, or leave adaptor out"
            )
        return cls(ours.shape[-1], theirs.shape[-1]).to(ours.device) if wanted or differ else None

    def forward(self, features: Features) -> Features:
        """Features of the teacher's width, 0 on padded frames, which take no part in BatchNorm."""
        passes, batch, frames, _ = features.values.shape
        mask = features.mask.expand(passes, batch, frames)
        rows, norm = self.linear(features.values[mask]), self.norm
        rows = batch_norm(
            rows,
            norm.running_mean,
            norm.running_var,
            norm.weight,
            norm.bias,
            self.training and len(rows) > 1,  # one row has no variance
            norm.momentum,
            norm.eps,
        ).relu()
        values = rows.new_zeros(passes, batch, frames, rows.shape[-1])
        return Features(values.masked_scatter(mask[..., None], rows), features.lengths, features.mask)


def described(layer: Features | Outputs, adaptor: Adaptor | None) -> Tensor:
    """Descriptors (P, B, D): a layer, adapted if there is an adaptor, averaged over the valid frames."""
    features = as_features(layer)
    if adaptor is not None:
        features = adaptor(features)
    return pooled(features.values, features.mask)
