"""The arguments of a CTC loss, checked and brought into one form.

Letters: B utterances, T frames, C classes, S labels of the longest target.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from seqkd.ctc.frames import frame_mask
from seqkd.ctc.transforms import readable

REDUCTIONS = ("mean", "sum", "none")
CTC_REDUCTIONS = (*REDUCTIONS, "batchmean")

IntSequence = Tensor | Sequence[int] | Sequence[Sequence[int]]


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_logits(name: str, logits: Tensor, letters: str) -> None:
    """Raise ValueError unless ``logits`` is a floating tensor with one dimension a letter."""
    if logits.dim() != len(letters) or not logits.is_floating_point():
        raise ValueError(
            f"{name} must be a floating-point tensor ({', '.join(letters)}), "
            f"got shape {_shape(logits)} of {logits.dtype}"
        )


def shape_targets(
    logits: Tensor,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    *,
    blank: int,
    labelled: IntSequence | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Bring targets and lengths into one form, looking at shapes and types only (unless targets are joined).

    Args:
        logits: (..., B, T, C).
        targets: (B, S) padded, 1-D with all targets joined, or a list of B lists or tensors, of lengths of their own.
        input_lengths: (B,) valid frames.
        target_lengths: (B,) labels.
        blank: class of the blank.
        labelled: (B,) bool; where False, the utterance has no transcript, and its target becomes empty.

    Returns:
        ``(targets (B, S), input_lengths (B,), target_lengths (B,))``, int64, each on the device it was on; S is
        at least 1.

    Raises:
        ValueError: shapes or types that do not fit.
    """
    batch, _, classes = logits.shape[-3:]
    if not 0 <= blank < classes:
        raise ValueError(f"blank must be in [0, {classes}), got {blank}")
    input_lengths = _lengths("input_lengths", input_lengths, batch)
    target_lengths = _lengths("target_lengths", target_lengths, batch)
    if ragged(targets):
        targets = _padded(targets, target_lengths, blank)
    targets = _integers("targets", targets)
    if targets.dim() == 1:
        targets = _split(targets, target_lengths)
    if targets.dim() != 2 or targets.shape[0] != batch:
        raise ValueError(f"targets must be ({batch}, S) padded or 1-D with all targets joined, got {_shape(targets)}")
    if labelled is not None:
        target_lengths = target_lengths.where(_labelled(labelled, target_lengths), 0)
    if targets.shape[1] == 0:
        # Of no length, so that a target length above 0 is still found out.
        check_lengths("target", target_lengths, 0, "S")
        targets = targets.new_full((batch, 1), blank)
    return targets, input_lengths, target_lengths


def check_lengths(name: str, lengths: Tensor, most: int, letter: str) -> None:
    """Raise ValueError unless all of ``lengths`` (B,) are from 0 to ``most``, the size of dimension ``letter``.

    Where values cannot be looked at, as in a graph that is being compiled, nothing is checked.
    """
    if not readable(lengths):
        return
    for i, length in enumerate(lengths.tolist()):
        if not 0 <= length <= most:
            raise ValueError(f"utterance {i}: {name} length {length} is outside [0, {letter} = {most}]")


def check_targets(
    logits: Tensor,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    *,
    blank: int,
    validate: bool | None = None,
    labelled: IntSequence | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Check targets and lengths against the logits, and bring them into one form.

    Lengths are needed on the host (torch's CTC wants them there too): keep them on the CPU and this never
    waits for the GPU.

    Args:
        logits: (..., B, T, C).
        targets: as in :func:`shape_targets`, and so the next two.
        input_lengths: (B,).
        target_lengths: (B,).
        blank: class of the blank.
        validate: None checks the labels that are on the host; True those on the GPU too, which waits for it;
            False none: a bad label then makes its utterance's loss NaN instead of reading out of bounds.
        labelled: (B,) bool; where False, the utterance has no transcript, and its target becomes empty.

    Returns:
        ``(targets (B, S) int64 on the device of the logits, input_lengths (B,) int64 on the host,
        target_lengths (B,) int64 on the host)``. Padding in ``targets`` is blank; S is at least 1.

    Raises:
        ValueError: naming the utterance and the value.
    """
    _, frames, classes = logits.shape[-3:]
    targets, input_lengths, target_lengths = shape_targets(
        logits, targets, input_lengths, target_lengths, blank=blank, labelled=labelled
    )
    input_lengths, target_lengths = input_lengths.cpu(), target_lengths.cpu()
    check_lengths("input", input_lengths, frames, "T")
    check_lengths("target", target_lengths, targets.shape[1], "S")
    if validate or (validate is None and targets.device.type == "cpu"):
        check_labels(targets, target_lengths, classes, blank)
    valid = frame_mask(target_lengths, targets.shape[1], targets.device)
    targets = targets.masked_fill(~valid, blank).to(logits.device, non_blocking=True)
    return targets, input_lengths, target_lengths


def check_labels(targets: Tensor, target_lengths: Tensor, classes: int, blank: int) -> None:
    """Raise ValueError, naming utterance and value, if targets (B, S) hold a blank or a label outside [0, C).

    Where values cannot be looked at, as in a graph that is being compiled, nothing is checked.
    """
    if not (readable(targets) and readable(target_lengths)):
        return
    valid = frame_mask(target_lengths, targets.shape[1], targets.device)
    wrong = valid & ((targets < 0) | (targets >= classes) | (targets == blank))
    if wrong.any():
        utterance, position = wrong.nonzero()[0].tolist()
        label = int(targets[utterance, position])
        fault = "is the blank" if label == blank else f"is outside [0, {classes})"
        raise ValueError(f"utterance {utterance}: target {label} at position {position} {fault}")


def bad_targets(targets: Tensor, target_lengths: Tensor, classes: int, blank: int) -> Tensor:
    """(B,) bool: targets (B, S) that hold a blank or a label outside [0, C). Never waits for the GPU."""
    valid = frame_mask(target_lengths, targets.shape[1], targets.device)
    return (valid & ((targets < 0) | (targets >= classes) | (targets == blank))).any(1)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def ragged(targets: IntSequence) -> bool:
    """Whether targets come as a list of lists or 1-D tensors of several lengths."""
    if isinstance(targets, Tensor) or not isinstance(targets, Sequence) or not targets:
        return False
    try:
        return (isinstance(targets[0], Tensor) and targets[0].dim() == 1) or len({len(one) for one in targets}) > 1
    except TypeError:
        return False  # numbers


def _padded(targets: Sequence[Sequence[int]], target_lengths: Tensor, blank: int) -> Tensor:
    """Targets of lengths of their own as (B, S)."""
    rows = [_integers("targets", one) for one in targets]
    lengths = target_lengths.tolist() if readable(target_lengths) else [0] * len(rows)
    for i, (row, length) in enumerate(zip(rows, lengths, strict=False)):
        if row.dim() != 1 or length > len(row):
            raise ValueError(
                f"utterance {i}: target length {length}, but its target has shape {_shape(row)}; expected a list of "
                "at least so many labels"
            )
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=blank)


def _integers(name: str, values: IntSequence) -> Tensor:
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be integers, as a tensor, an array or lists: {error}") from None
    if tensor.numel() == 0 and not isinstance(values, Tensor):
        tensor = tensor.long()
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"{name} must be integers, got {tensor.dtype}")
    return tensor.long()


def _lengths(name: str, values: IntSequence, batch: int) -> Tensor:
    lengths = _integers(name, values)
    if lengths.shape != (batch,):
        raise ValueError(f"{name} must have {batch} entries, one an utterance, got {_shape(lengths)}")
    return lengths


def _labelled(values: IntSequence, like: Tensor) -> Tensor:
    labelled = torch.as_tensor(values, dtype=torch.bool)
    if labelled.shape != like.shape:
        raise ValueError(f"labelled must have {len(like)} entries, one an utterance, got {_shape(labelled)}")
    return labelled.to(like.device)


def _split(joined: Tensor, target_lengths: Tensor) -> Tensor:
    """Joined targets (sum of lengths,) as padded ones (B, S)."""
    lengths = target_lengths.tolist()
    if min(lengths, default=0) < 0 or sum(lengths) != joined.numel():
        raise ValueError(f"targets hold {joined.numel()} labels, but target_lengths add up to {sum(lengths)}")
    if not lengths:
        return joined.new_zeros(0, 1)
    return torch.nn.utils.rnn.pad_sequence(list(joined.split(lengths)), batch_first=True)
