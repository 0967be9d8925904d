"""Sequence-level distillation: CTC on the teacher's N best hypotheses.

Letters: P passes, B utterances, T frames, C classes, S labels of the longest target, N hypotheses, U labels of the
longest hypothesis.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqkd.ctc.arguments import IntSequence, check_logits, check_targets
from seqkd.ctc.transforms import readable
from seqkd.losses.base import DistillationLoss
from seqkd.losses.ctc import Ctc
from seqkd.losses.objective import Term, weigh
from seqkd.losses.outputs import Labels, Outputs
from seqkd.settings import more_than


@dataclass
class Hypotheses:
    """A teacher's transcripts of a batch.

    Attributes:
        targets: (B, N, U) labels, padded with anything.
        lengths: (B, N) labels of each.
        scores: (B, N) log-probabilities (any additive constant an utterance), -inf where an utterance has fewer than N.
            Keep them on the CPU: on the GPU they cost a synchronisation.
    """

    targets: Tensor
    lengths: Tensor
    scores: Tensor

    def detached(self) -> Hypotheses:
        """Return a copy that no gradient flows into."""
        return Hypotheses(self.targets, self.lengths, self.scores.detach())

    def at(self, layer: str) -> Hypotheses:
        """Return these hypotheses, which are the same for every layer."""
        return self


class NBest(Term):
    """Σ_n w_n · CTC(student, h_n), averaged over passes; w = softmax(scores / temperature) over an utterance's
    hypotheses.

    The cross-entropy between teacher and student over sequences, restricted to the N best. 0 for an utterance without
    hypotheses. The teacher's outputs are `Hypotheses`.

    Args:
        temperature: flattens (> 1) or sharpens (< 1) the weights.
        zero_infinity: as in :class:`seqkd.losses.Ctc`.
        **options: ``weight``, ``layer``: see :class:`Term`.

    Papers: Takashima, Li and Kawai, "An investigation of a knowledge distillation method for CTC acoustic
    models", ICASSP 2018, and "Investigation of sequence-level knowledge distillation methods for CTC acoustic
    models", ICASSP 2019. Their exact weighting against the reference is not reproduced.
    """

    source = "teacher"

    def __init__(self, *, temperature: float = 1.0, zero_infinity: bool = False, **options: object) -> None:
        super().__init__(**options)
        self.temperature, self.ctc = more_than(0, temperature=temperature), Ctc(zero_infinity=zero_infinity)

    def forward(self, student: Outputs, teacher: Hypotheses, labels: Labels) -> Tensor:
        """Return each utterance's loss, unweighted: (B,) in nats.

        Raises ValueError for hypotheses that do not fit, or a score that is NaN or above all numbers, naming hypothesis
        and utterance.
        """
        scores, batch = teacher.scores.detach().cpu(), student.logits.shape[1]
        shapes = (tuple(teacher.targets.shape[:2]), tuple(teacher.lengths.shape), tuple(scores.shape))
        if teacher.targets.dim() != 3 or len(set(shapes)) != 1 or len(scores) != batch:
            raise ValueError(
                f"hypotheses {tuple(teacher.targets.shape)}, their lengths {shapes[1]} and scores {shapes[2]} "
                f"must be (B, N, U), (B, N), (B, N) with B = {batch}"
            )
        wrong = scores.isnan() | (scores == torch.inf)
        if readable(wrong) and wrong.any():
            utterance, n = wrong.nonzero()[0].tolist()
            raise ValueError(
                f"utterance {utterance}, hypothesis {n}: its score is {float(scores[utterance, n])}; expected a finite "
                "log-probability, or -inf where there is no such hypothesis"
            )
        weights = (scores.double() / self.temperature).softmax(1).nan_to_num(0.0)  # (B, N), all -inf gives 0
        losses = [
            weight.to(student.log_probs) * self.of(n, student, teacher, weight > 0, labels.blank)
            for n, weight in enumerate(weights.unbind(1))
        ]
        return torch.stack(losses).sum(0)

    def of(self, n: int, student: Outputs, teacher: Hypotheses, present: Tensor, blank: int) -> Tensor:
        """Compute CTC (B,) on the n-th hypothesis, 0 where it is absent."""
        options = {"blank": blank, "labelled": present}
        try:
            targets, _, lengths = check_targets(
                student.logits, teacher.targets[:, n], student.lengths, teacher.lengths[:, n], **options
            )
        except ValueError as error:
            raise ValueError(f"hypothesis {n}, {error}") from None
        return self.ctc(student, None, Labels(targets, lengths, present, blank))


def nbest_ctc_loss(
    student_logits: Tensor,
    hypotheses: Tensor,
    hypothesis_lengths: Tensor,
    hypothesis_scores: Tensor,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    *,
    kd_weight: float,
    ctc_weight: float = 1.0,
    temperature: float = 1.0,
    blank: int = 0,
    labelled: IntSequence | None = None,
    zero_infinity: bool = False,
    reduction: str = "mean",
) -> DistillationLoss:
    """CTC on the reference, and :class:`NBest` as ``kd``.

    Args:
        student_logits: (B, T, C).
        hypotheses, hypothesis_lengths, hypothesis_scores: see `Hypotheses`; they get no gradient.
        targets, input_lengths, target_lengths: and the other arguments as of :func:`seqkd.losses.beside_ctc`.
        kd_weight: weight of the hypotheses' term; 0 removes it.
        ctc_weight: weight of CTC on the reference; 0 removes it.
        temperature: see :class:`NBest`.
        blank: class of the blank.
        labelled: (B,) bool, None for all; where False, the utterance has no CTC term on the reference.
        zero_infinity: as in :func:`seqkd.ctc.ctc_loss`; for hypotheses too.
        reduction: "none" gives (B,), "sum" adds utterances up, "mean" divides all terms by B.

    Returns:
        The total and its unweighted terms ``ctc`` and ``kd``.

    Raises:
        ValueError: shapes that disagree, a length or label out of range (hypothesis and utterance are named),
            an unknown option, a negative weight.
    """
    check_logits("student_logits", student_logits, "BTC")
    terms = {
        "ctc": (Ctc(zero_infinity=zero_infinity), ctc_weight),
        "kd": (NBest(temperature=temperature, zero_infinity=zero_infinity), kd_weight),
    }
    targets, frames, lengths = check_targets(
        student_logits, targets, input_lengths, target_lengths, blank=blank, labelled=labelled
    )
    labelled = None if labelled is None else torch.as_tensor(labelled, dtype=torch.bool)
    teacher = Hypotheses(hypotheses, hypothesis_lengths, hypothesis_scores)
    student = Outputs(student_logits[None], frames)
    return weigh(terms, student, {"teacher": teacher}, Labels(targets, lengths, labelled, blank), reduction)
