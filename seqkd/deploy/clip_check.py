"""Whether exported classifiers give what PyTorch's model gives.

Letters: N clips, B of them in a batch, T frames, F features, S positions (1, or T of a class a frame), C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqkd.deploy.network import OnnxNetwork
from seqkd.errors import SeqkdError
from seqkd.losses.outputs import IGNORE
from seqkd.models.layers import valid_frames

# Greatest difference of a logit as a share of the clip's largest one, or of 1 where that is less: float32 sums in
# another order give some 1e-7 to 1e-6.
LIMIT = 1e-5
BATCH = 64

NOISE = (1000, 333, 100, 64, 37, 12, 7, 5, 4, 3, 2, 1)  # frames of clips of noise, as far as there may be so many


@dataclass(frozen=True)
class ClipCheckSet:
    """Clips to compare on.

    Attributes:
        name: of the set.
        ids: N names.
        features: (N, T, F).
        lengths: (N,).
        targets: (N, S) numbers of the right classes, IGNORE where there is none; or None where they are not known.
    """

    name: str
    ids: Sequence[str]
    features: Tensor
    lengths: Tensor
    targets: Tensor | None = None

    def batches(self) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Places of up to `BATCH` clips, their (B, T, F) features, cut to the longest, and their (B,) lengths."""
        for start in range(0, len(self.ids), BATCH):
            lengths = self.lengths[start : start + BATCH]
            features = self.features[start : start + BATCH, : int(lengths.max())].contiguous()
            yield list(range(start, start + len(lengths))), features, lengths


@dataclass
class ClipAgreement:
    """What comparing found.

    Attributes:
        clips: N.
        positions: clips, or frames.
        largest_batch: B.
        alone: greatest difference of ONNX, each clip by itself, from PyTorch, as `LIMIT` is meant.
        together: likewise, in padded batches.
        ties: positions where another class is found, whose logit in PyTorch is the largest within `LIMIT`.
        int8: greatest absolute difference of a logit, 8-bit weights, each clip by itself.
        changed: positions where 8-bit weights find another class than PyTorch.
        labelled: positions whose class is known.
        right: of these, found by PyTorch.
        int8_right: of these, found with 8-bit weights.
    """

    clips: int = 0
    positions: int = 0
    largest_batch: int = 0
    alone: float = 0.0
    together: float = 0.0
    ties: int = 0
    int8: float = 0.0
    changed: int = 0
    labelled: int = 0
    right: int = 0
    int8_right: int = 0


@torch.no_grad()
def compare_clips(
    model: nn.Module,
    onnx: OnnxNetwork,
    int8: OnnxNetwork,
    test: ClipCheckSet,
    progress: Callable[[int], object] | None = None,
) -> ClipAgreement:
    """Run all clips through PyTorch, in padded batches, and through the exported networks, in these and one by one.

    ``progress`` is called with the clips that were compared since the last call.

    Raises SeqkdError, naming the clip, when a logit of ONNX differs from PyTorch's by more than `LIMIT`, or when
    another class is found, ties within `LIMIT` apart.
    """
    found = ClipAgreement()
    for places, features, lengths in test.batches():
        expected = model(features, lengths)
        together = onnx(features, lengths).logits
        for row, place in enumerate(places):
            size, positions = lengths[row : row + 1], int(expected.lengths[row])
            ours, clip = expected.logits[row, :positions], features[row : row + 1, : int(size)]
            where = f"clip {test.ids[place]} of {test.name}"
            alone, small = onnx(clip, size).logits[0], int8(clip, size).logits[0]
            apart, ties = difference(ours, alone, f"{where}, by itself, model.onnx")
            found.alone, found.ties = max(found.alone, apart), found.ties + ties
            what = f"{where}, in a padded batch of {len(places)}, model.onnx"
            apart, ties = difference(ours, together[row, :positions], what)
            found.together, found.ties = max(found.together, apart), found.ties + ties
            found.int8 = max(found.int8, (small - ours).abs().max().item())
            classes, int8_classes = ours.argmax(-1), small.argmax(-1)
            found.changed += int((classes != int8_classes).sum())
            found.positions += positions
            if test.targets is not None:
                targets = test.targets[place, :positions]
                found.labelled += int((targets != IGNORE).sum())
                found.right += int((classes == targets).sum())
                found.int8_right += int((int8_classes == targets).sum())
        found.clips += len(places)
        found.largest_batch = max(found.largest_batch, len(places))
        if progress is not None:
            progress(len(places))
    return found


@torch.no_grad()
def check_same(model: nn.Module, other: nn.Module, test: ClipCheckSet, what: str) -> None:
    """Raise SeqkdError, beginning with ``what``, unless two models in eval mode give the same logits, bit for bit."""
    for places, features, lengths in test.batches():
        ours, theirs = model(features, lengths), other(features, lengths).logits
        valid = valid_frames(ours.lengths, ours.logits.shape[1])
        for row, place in enumerate(places):
            if not torch.equal(ours.logits[row, valid[row]], theirs[row, valid[row]]):
                raise SeqkdError(
                    f"{what} gives other logits than the model for clip {test.ids[place]} of {test.name}; nothing was "
                    "written; train the system again"
                )


def noise_clips(model: nn.Module, frames: int, *, fixed: bool = False) -> ClipCheckSet:
    """Noise with the mean and deviation of a model's training features: a batch of clips of up to ``frames`` frames.

    ``fixed`` gives all of them as many, as images have.
    """
    generator = torch.Generator().manual_seed(0)
    sizes = [frames] * 4 if fixed else [frames, *(size for size in NOISE if size < frames)]
    features = torch.randn(len(sizes), frames, len(model.feature_mean), generator=generator)
    features = features / model.feature_scale + model.feature_mean
    lengths = torch.tensor(sizes)
    # What stands behind a clip must change nothing.
    features[~valid_frames(lengths, frames)] = 1e4
    names = [f"random-{number}" for number in range(len(sizes))] if fixed else [f"random-{size}" for size in sizes]
    return ClipCheckSet("random features", names, features, lengths)


def difference(expected: Tensor, found: Tensor, what: str) -> tuple[float, int]:
    """The greatest difference of two (S, C), as `LIMIT` is meant, and the number of ties that fell another way.

    Raises SeqkdError, beginning with ``what``, when they disagree.
    """
    if found.shape != expected.shape:
        raise SeqkdError(f"{what} gives {tuple(found.shape)} logits, PyTorch {tuple(expected.shape)}; {_REMEDY}")
    scale = expected.abs().max().clamp(min=1.0)
    apart = (found - expected).abs() / scale
    greatest = apart.max().item()
    if not greatest <= LIMIT:  # NaN too
        position, name = divmod(int(apart.argmax()), apart.shape[1])
        raise SeqkdError(
            f"{what} gives logit {found[position, name].item():.6g} in position {position}, class {name}, PyTorch "
            f"{expected[position, name].item():.6g}; they may differ by {LIMIT * scale.item():g}, {_REMEDY}"
        )
    ours, theirs = expected.argmax(-1), found.argmax(-1)
    behind = (expected.amax(-1) - expected.gather(-1, theirs[:, None])[:, 0]) / scale
    if (behind > LIMIT).any():
        position = int(behind.argmax())
        raise SeqkdError(
            f"{what} finds class {theirs[position].item()} in position {position}, PyTorch {ours[position].item()}; "
            f"{_REMEDY}"
        )
    return greatest, int((ours != theirs).sum())


_REMEDY = "nothing was written; export it with the versions of torch and onnxruntime that local/constraints.txt names"
