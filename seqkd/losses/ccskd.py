"""CCSKD: match what each channel responds with on average, and trust the teacher more where it is right.

Its third term, the relations between items, is `seqkd.losses.relations`.

Letters: P passes, B items, T frames or positions, C classes, D features, S labels of the longest target.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from seqkd.ctc.frames import frame_mask
from seqkd.losses.adaptor import Adaptor, described
from seqkd.losses.base import check_teacher, kl_divergence, whole
from seqkd.losses.best_path import collapse
from seqkd.losses.gold import mixed_in
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Features, Labels, Outputs
from seqkd.settings import between, one_of

VARIANTS = ("clean", "released")


class ChannelDescriptors(Term):
    """mean over D of (s − t)², s and t (B, D) the means of a layer over an item's valid frames; averaged over passes.

    The networks may differ in their number of frames. For several layers, take the term several times: the release
    adds up four.

    Args:
        adaptor: a linear map, BatchNorm and ReLU on the student's frames, before the mean. True as released; False
            compares the layers as they are; None (default) makes one if the widths differ. It is made by
            ``Objective.setup``.
        **options: ``weight``, ``layer``, ``other_layer``: see :class:`Term`. The release has 6, from epoch
            60 on 5.4, from 160 on 4.86.

    Raises:
        ConfigError: from ``setup``, where widths differ and ``adaptor`` is False.
        ValueError: widths differ, without an adaptor.

    Papers: CCSKD, IEEE TCDS 2023, 10.1109/tcds.2022.3232569 (author code), after channel distillation, arXiv
    2006.01683. Chosen: the spatial mean becomes one over valid frames.
    """

    source = "teacher"
    per_item = True

    def __init__(self, *, adaptor: bool | None = None, **options: object) -> None:
        super().__init__(**options)
        self.wanted, self.adaptor = one_of((None, True, False), adaptor=adaptor), None

    def setup(self, student: Features | Outputs, other: Features | Outputs | None) -> None:
        """Make the adaptor, of the sizes of these outputs."""
        if other is not None:
            self.adaptor = Adaptor.between(student, other, self.wanted)

    def forward(self, student: Features, teacher: Features, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        ours, theirs = described(student, self.adaptor), described(teacher, None)
        if ours.shape[-1] != theirs.shape[-1]:
            raise ValueError(
                f"the layers have {ours.shape[-1]} and {theirs.shape[-1]} features; call setup of the objective first, "
                "which makes an adaptor"
            )
        return (ours - theirs).square().mean(-1).mean(0)


class SelectiveKd(Term):
    """KL(p_T ‖ p_S) weighed by m = (1 + [the teacher is right]) · decay^⌊epoch / every⌋, averaged over passes.

    Summed over classes and valid positions, τ = 1. Where there is one label a position, the teacher is right there if
    its most likely class is the label. Beside CTC it is right on a whole utterance, if its greedy transcript has no
    error. Of labels that MixUp has mixed it is right on each in its share. A teacher that is wrong still counts with 1,
    and so does one on an item without labels. Notes the share ``right``.

    Args:
        variant: "clean" (default) is m · KL. "released" multiplies the target and the student's log-probability by m,
            Σ m p_T (log(m p_T) − m log p_S): the parent's code had m in {0, 1}, where m² = m; with these m the gradient
            is m² (p_S − p_T), so that a right teacher counts four times a wrong one, and the value is no divergence: it
            can be negative.
        decay: of m.
        every: epochs between two decays.
        epochs: of the whole training; the share of the updates done gives the epoch, counted from 1 as in the release.
        **options: ``weight``, ``layer``, ``other_layer``: see :class:`Term`. The release has .1, from epoch 61 on.

    Paper: CCSKD, IEEE TCDS 2023, 10.1109/tcds.2022.3232569 (author code). Chosen: what is right beside CTC.
    """

    source = "teacher"

    def __init__(
        self,
        *,
        variant: str = "clean",
        decay: float = 0.9,
        every: int = 30,
        epochs: int = 200,
        **options: object,
    ) -> None:
        super().__init__(**options)
        self.variant, self.decay = one_of(VARIANTS, variant=variant), between(0, 1, decay=decay)
        self.every, self.epochs = whole(1, every=every), whole(1, epochs=epochs)

    @property
    def factor(self) -> float:
        """The decay of the weight at this epoch: decay^⌊epoch / every⌋."""
        epoch = math.ceil(self.progress * self.epochs - 1e-9)  # rounding does not begin an epoch early
        return self.decay ** (epoch // self.every)

    def forward(self, student: Outputs, teacher: Outputs, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        check_teacher(teacher.logits, student.logits)
        right = teacher_is_right(teacher, student.mask, labels)  # (1 or P, B, T)
        valid = student.mask.expand_as(right)
        self.note(right=right[valid].float().mean() if valid.any() else student.log_probs.new_zeros(()))
        m = self.factor * (1 + right.to(student.log_probs))
        theirs, ours = teacher.log_probs, student.log_probs
        if self.variant == "clean":
            losses = m * kl_divergence(theirs, ours)
        else:
            losses = _released(theirs, ours, m[..., None])
        return losses.masked_fill(~student.mask, 0.0).sum(-1).mean(0)


def teacher_is_right(teacher: Outputs, mask: Tensor, labels: Labels) -> Tensor:
    """Return where the teacher is right, (1 or P, B, T) bool: at each position, or on a whole utterance of CTC.

    Of labels that MixUp has mixed, the share of those on which it is. ``mask`` (B, T) of valid frames.
    """
    best = teacher.log_probs.argmax(-1)  # (1 or P, B, T)
    frames = best.shape[2]
    if labels.targets.shape[1] == frames:
        targets, right = labels.positions(frames).to(best.device), lambda of: best == of
        if labels.mixed is None:
            return right(targets)
        return mixed_in(lambda of: right(of).to(teacher.log_probs), targets, labels)
    passes, batch, _ = best.shape
    paths, _ = collapse(best.flatten(0, 1), mask.repeat(passes, 1), labels.blank)  # (P B, T), padded with blank
    targets = labels.targets.to(best.device)
    targets = targets.masked_fill(~frame_mask(labels.lengths, targets.shape[1], targets.device), labels.blank)
    longest = max(frames, targets.shape[1])
    paths, targets = (pad(x, (0, longest - x.shape[1]), value=labels.blank) for x in (paths, targets))
    right = (paths.view(passes, batch, longest) == targets).all(-1)
    if labels.labelled is not None:
        right = right & labels.labelled.to(right.device)
    return right[..., None].expand(passes, batch, frames)


def _released(log_p: Tensor, log_q: Tensor, m: Tensor) -> Tensor:
    """Σ m p (log(m p) − m log q): what ``KLDivLoss`` gives where m multiplies both; (..., C) → (...)."""
    target = m * log_p.exp()
    return (torch.special.xlogy(target, target) - target * m * log_q.masked_fill(target == 0, 0.0)).sum(-1)
