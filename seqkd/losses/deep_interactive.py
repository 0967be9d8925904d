"""The objective of deep interactive learning: the target and a tempered teacher, half and half.

Letters: B sequences, S positions, C classes, N valid positions.
"""

from __future__ import annotations

from torch import Tensor

from seqkd.losses.base import DistillationLoss, check_distance, check_teacher
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs
from seqkd.losses.tokens import ValidPositions, check_share
from seqkd.settings import more_than


class SoftTargets(Term):
    """Σ CE(p_T, softmax(z / τ)) over valid positions, p_T = softmax(log o / τ), o the teacher's posterior, not
    tempered.

    Averaged over passes. As deep interactive learning prints it, without τ²: its gradient is that of KL / τ, some 1/τ²
    of a hard target's, since both distributions are nearly uniform at τ = 20.

    Args:
        temperature: τ. The paper has 20.
        scale_by_temperature: False (default) is the paper's print; True multiplies by τ², as is usual elsewhere.
        **options: ``weight``, ``layer``, ``other_layer``: see :class:`Term`. The paper has ½ beside ½ cross-entropy.

    Paper: see :func:`deep_interactive_loss`.
    """

    source = "teacher"

    def __init__(self, *, temperature: float = 20.0, scale_by_temperature: bool = False, **options: object) -> None:
        super().__init__(**options)
        self.temperature = more_than(0, temperature=temperature)
        self.scale = temperature**2 if scale_by_temperature else 1.0

    def forward(self, student: Outputs, teacher: Outputs, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,) in nats."""
        check_teacher(teacher.logits, student.logits)
        soft, ours = teacher.probs(self.temperature), student.tempered(self.temperature)
        # A class that the teacher rules out may be one that the student masks: 0 · −inf counts as 0.
        losses = -self.scale * (soft * ours.masked_fill(soft == 0, 0.0)).sum(-1)  # (P, B, T)
        return losses.masked_fill(~student.mask, 0.0).sum(-1).mean(0)


def deep_interactive_loss(
    logits: Tensor,
    targets: Tensor,
    teacher_probs: Tensor,
    *,
    kd_weight: float = 0.5,
    temperature: float = 20.0,
    scale_by_temperature: bool = False,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> DistillationLoss:
    """(1 − w) · hard + w · kd, hard = CE(g, softmax(z)), kd = CE(p_T, softmax(z / τ)), p_T = softmax(log o / τ).

    The gradient with respect to the logits z is, at each valid position (times the reduction's factor)::

        (1 − w) (softmax(z) − g) + (w / τ) (softmax(z / τ) − p_T)

    Both distributions of the second difference are nearly uniform at τ = 20, so that as printed the teacher's part
    of the gradient is some 1/τ² of the target's; ``scale_by_temperature`` makes them alike.

    Args:
        logits: z, (B, S, C) of the student (or of an assistant that the student teaches).
        targets: g, (B, S) classes.
        teacher_probs: o, (B, S, C) probabilities of the teacher, **not yet tempered**, in any floating dtype; each
            row sums to 1, zeros are allowed. Gets no gradient.
        kd_weight: w, from 0 to 1; the hard term has 1 − w. Either weight at 0 removes its term. The paper has ½.
        temperature: τ. The paper has 20; at 1 the soft target is o itself.
        scale_by_temperature: False (default) is the paper's print; True multiplies kd by τ², as is usual elsewhere.
        ignore_index: positions with this target take part in nothing, whatever the logits and the teacher hold
            there, NaN too.
        reduction: "mean" averages over valid positions, "sum" adds them up, "none" gives (B, S), 0 where not
            valid.

    Returns:
        The total and its unweighted terms ``hard`` and ``kd``. The latter is a cross-entropy: with a perfect
        student it is the entropy of p_T (times τ² where scaled), not 0. Float64 for float64 logits, else float32.

    Raises:
        ValueError: shapes or types that do not fit, a target out of range (its place is named), teacher rows that
            are no distributions, an unknown reduction, a weight outside [0, 1], a temperature that is not positive.

    Paper: Deep interactive learning for shot types from music, ACM MM 2020, 10.1145/3394171.3413985 (full text).
    """
    tokens = ValidPositions.of(logits, targets, ignore_index=ignore_index, reduction=reduction)
    teacher_probs = tokens.fitting("teacher_probs", teacher_probs)
    check_share("kd_weight", kd_weight)
    check_distance("kl", temperature)
    scale = temperature**2 if scale_by_temperature else 1.0

    def kd() -> Tensor:
        fused = _distributions(tokens, teacher_probs)  # (N, C) o
        soft = (fused.log() / temperature).softmax(-1)
        log_probs = tokens.log_softmax(logits, temperature)
        # A class that the teacher rules out may be one that the student masks: 0 · −inf counts as 0.
        return -scale * (soft * log_probs.masked_fill(soft == 0, 0.0)).sum(-1)

    return tokens.weigh(
        hard=(1 - kd_weight, lambda: tokens.cross_entropy(tokens.log_softmax(logits))), kd=(kd_weight, kd)
    )


def _distributions(tokens: ValidPositions, probs: Tensor) -> Tensor:
    """Return the valid rows (N, C) of (B, S, C), in the dtype of the losses;

    ValueError unless each is a distribution.
    """
    rows = tokens.of_valid(probs).to(tokens.dtype)
    if tokens.valid is not None:  # torch compiles or transforms the program: values are not looked at
        return rows.masked_fill(~tokens.valid[:, None], 1.0)
    sums = rows.sum(-1)
    # Half precision rounds each class by up to 2^-9 of itself, and so their sum.
    fits = (rows >= 0).all(-1) & ((sums - 1).abs() < 5e-3)
    if not fits.all():
        where = int((~fits).nonzero()[0, 0])
        position = where if tokens.rows is None else int(tokens.rows[where])
        sequence, position = divmod(position, tokens.shape[1])
        raise ValueError(
            f"teacher_probs of sequence {sequence}, position {position} are no distribution: they sum to "
            f"{float(sums[where]):g}, the smallest is {float(rows[where].min()):g}; expected probabilities, not logits"
        )
    return rows
