"""Occupancies: how probable it is that a frame emits a label, over all alignments of a transcript.

Letters: B utterances, T frames, C classes, S labels of the longest target.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqkd.ctc.arguments import IntSequence, check_logits, check_targets
from seqkd.ctc.frames import frame_mask, masked_log_softmax
from seqkd.ctc.reference import lattice_nll, states_of


@dataclass(frozen=True)
class Occupancies:
    """A soft alignment: each valid frame's numbers add up to one, where the target can be aligned; else all are 0.

    Attributes:
        blank: (B, T) of the blank, wherever it stands.
        labels: (B, T, S) of each label of the target, by its position; 0 beyond the target.
    """

    blank: Tensor
    labels: Tensor

    def by_class(self, targets: Tensor, classes: int, blank: int = 0) -> Tensor:
        """(B, T, C): added up over the positions of each class. ``softmax(logits)`` minus this is CTC's gradient."""
        index = targets[:, None].clamp(0, classes - 1).expand(-1, self.labels.shape[1], -1)
        found = self.labels.new_zeros(*self.blank.shape, classes).scatter_add(-1, index, self.labels)
        found[..., blank] += self.blank
        return found


def occupancies(
    logits: Tensor,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    *,
    blank: int = 0,
) -> Occupancies:
    """The posterior of CTC's states: the soft alignment of which the CTC loss' gradient is made.

    It is the gradient of log p(target) for the logarithms of what each state emits, by the dynamic programme in float64
    (:func:`seqkd.ctc.reference.reference_nll`), on any device: for looking at alignments, word times and confidence,
    not for every step of a training.

    Args:
        logits: (B, T, C).
        targets: (B, S) padded, joined, or lists, as in :func:`seqkd.ctc.ctc_loss`.
        input_lengths: (B,).
        target_lengths: (B,).
        blank: class of the blank.

    Returns:
        Float64, without gradient; 0 on padded frames.

    Raises:
        ValueError: as :func:`seqkd.ctc.ctc_loss`.
    """
    check_logits("logits", logits, "BTC")
    targets, frames, lengths = check_targets(logits, targets, input_lengths, target_lengths, blank=blank, validate=True)
    with torch.inference_mode(False), torch.enable_grad():
        logits = logits.detach().clone().double()
        mask = frame_mask(frames, logits.shape[1], logits.device)
        states, may_skip = states_of(targets, blank)
        log_probs = masked_log_softmax(logits, mask)
        emitted = log_probs.gather(2, states[:, None].expand(-1, logits.shape[1], -1)).requires_grad_()
        losses = lattice_nll(emitted, may_skip, frames, lengths)
        (found,) = torch.autograd.grad(-losses.masked_fill(~losses.isfinite(), 0.0).sum(), emitted)
    found = found.masked_fill(~losses.isfinite()[:, None, None], 0.0)
    return Occupancies(found[..., 0::2].sum(-1), found[..., 1::2])
