"""BookKD: what is learned from a book, trusted less where the book is unsure.

Letters: B sentences or utterances, S target positions, T frames, C classes, K kept classes, N valid positions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqkd.ctc.arguments import check_choice
from seqkd.errors import ConfigError
from seqkd.losses.base import DistillationLoss, check_distance, check_teacher, kl_divergence
from seqkd.losses.gold import gold_positions
from seqkd.losses.objective import Term
from seqkd.losses.outputs import IGNORE, Labels, Outputs
from seqkd.losses.sparse import TAILS, SparsePosteriors, check_sparse, entropy_of, sparse_divergence, trust_of
from seqkd.losses.tokens import ValidPositions, check_share, rows_of
from seqkd.settings import more_than, share


class BookKd(Term):
    """Σ w τ² KL(b ‖ p^τ) over valid positions or frames, with w = 1 − H(b) / log C (entropy dynamic adjustment).

    b = (1 − ε_b) t + ε_b y, t the teacher's posterior at temperature τ, from a book or live, y the one-hot target, or
    the mixture of two that MixUp has made; without a target b = t. H(b) is that of the whole posterior, where a book
    has kept it (``entropy`` of the teacher's outputs) at this τ, else that of the logits. Averaged over passes. Notes
    the mean ``weight``.

    Args:
        temperature: τ of both.
        regularisation: ε_b, from 0 to 1. Leave it at 0 where the book was regularised when it was made, and beside CTC,
            whose targets are not one a frame.
        adjust: False is w = 1.
        **options: ``weight``, ``layer``, ``other_layer``: see :class:`Term`.

    Raises:
        ConfigError: ``regularisation`` beside CTC.
        ValueError: teacher and student differ in (B, T, C); with ``regularisation``, a target that is no class.

    Paper: see :func:`book_kd_loss`.
    """

    source = "teacher"

    def __init__(
        self, *, temperature: float = 1.0, regularisation: float = 0.0, adjust: bool = True, **options: object
    ) -> None:
        super().__init__(**options)
        self.temperature, self.adjust = more_than(0, temperature=temperature), bool(adjust)
        self.regularisation = share(regularisation=regularisation)

    def forward(self, student: Outputs, teacher: Outputs, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        check_teacher(teacher.logits, student.logits)
        t, ours = teacher.tempered(self.temperature), student.tempered(self.temperature)  # (1 or P, B, T, C), (P, ...)
        b, mixed = self._with_targets(t, student, labels) if self.regularisation else (t, None)
        divergence = kl_divergence(b, ours)
        weight = torch.ones_like(divergence)
        if self.adjust:
            weight = trust_of(self._entropy(t, b, mixed, teacher), ours.shape[-1]).expand_as(divergence)
        valid = student.mask.expand_as(weight)
        self.note(weight=weight[valid].mean() if valid.any() else weight.new_zeros(()))
        losses = self.temperature**2 * weight * divergence
        return losses.masked_fill(~student.mask, 0.0).sum(-1).mean(0)

    def _with_targets(self, log_probs: Tensor, student: Outputs, labels: Labels) -> tuple[Tensor, Tensor]:
        """log b (1 or P, B, T, C) of log t, and where a target is in it, (B, T)."""
        if labels.targets.shape[1] != log_probs.shape[2]:
            raise ConfigError("regularisation needs one target a position: beside CTC, regularise the book instead")
        targets, valid = gold_positions(labels, student, "BookKd with regularisation")
        mixed = _mixed(log_probs, targets, self.regularisation)
        if labels.mixed is not None:
            others = labels.mixed[:, : targets.shape[1]]
            both = _mixed(log_probs, targets.where(others == IGNORE, others), self.regularisation).exp()
            part = labels.share.to(both)[:, None, None]
            mixed = (part * mixed.exp() + (1 - part) * both).log()
        return torch.where(valid[..., None], mixed, log_probs), valid

    def _entropy(self, log_t: Tensor, log_b: Tensor, mixed: Tensor | None, teacher: Outputs) -> Tensor:
        """H(b), (1 or P, B, T)."""
        stored = teacher.entropy if teacher.entropy_temperature == self.temperature else None
        if stored is not None and mixed is None:
            return stored.to(log_t)
        known = torch.special.entr(log_b.exp()).sum(-1)
        if stored is None:
            return known
        # What the book has left out lacks in H(t), and 1 − ε of it in H(b): a target moves one class alone.
        lacks = stored.to(log_t) - torch.special.entr(log_t.exp()).sum(-1)
        return known + torch.where(mixed, 1 - self.regularisation, 1.0) * lacks


def _mixed(log_probs: Tensor, targets: Tensor, amount: float) -> Tensor:
    """log[(1 − ε) p + ε y] of log p (..., C) and targets (...)."""
    mixed = (1 - amount) * log_probs.exp()
    targets = targets.expand(mixed.shape[:-1])[..., None]
    return mixed.scatter_add(-1, targets, torch.full_like(targets, amount, dtype=mixed.dtype)).log()


def book_kd_loss(
    logits: Tensor,
    targets: Tensor,
    book: Tensor | SparsePosteriors,
    *,
    kd_weight: float,
    temperature: float = 1.0,
    smoothing: float = 0.1,
    regularisation: float = 0.0,
    adjust: bool = True,
    tail: str = "spread",
    ignore_index: int = -100,
    reduction: str = "mean",
) -> DistillationLoss:
    """BookKD: cross-entropy with label smoothing, and KL divergence from the book's distribution, with less weight
    where that is unsure.

    At each valid position, with p^τ = softmax(z / τ), t the book's posterior and y the one-hot target::

        b = (1 − ε_b) t + ε_b y            w = 1 − H(b) / log C        (entropy dynamic adjustment)
        total = hard + λ kd,   hard = (1 − ε) (−log P_y) + ε (−mean_c log P_c),   kd = w τ² KL(b ‖ p^τ)

    Args:
        logits: (B, S, C), C at least 2, in any floating dtype.
        targets: (B, S) classes.
        book: (B, S, C) log-probabilities at temperature τ, as :meth:`seqkd.knowledge.Book.collate` gives them for
            τ; or what was kept of them, whose classes are (B, S, K): no (B, S, C) is made of it. No gradient.
        kd_weight: λ, from 0 on; the hard term keeps the weight 1. 0 removes ``kd``: the book is not read.
        temperature: τ of the student, and that at which the book's posteriors are given.
        smoothing: ε, from 0 to 1.
        regularisation: ε_b, from 0 to 1. Leave it at 0 if the book was regularised when it was made. A sparse
            book must have been, as its target may be in the tail.
        adjust: False is w = 1. For a sparse book H(b) is the entropy stored with it; without one, that of the
            posterior with its tail spread.
        tail: for a sparse book, as in :func:`sparse_kd_loss`.
        ignore_index: positions with this target take part in nothing, whatever logits and book hold there.
        reduction: "mean" averages over valid positions, "sum" adds them up, "none" gives (B, S), 0 where not
            valid.

    Returns:
        The total and its terms ``hard`` and ``kd``, before λ, and ``weight``, which is w (averaged for "mean" and
        "sum" alike). Float64 for float64 logits, else float32.

    Raises:
        ValueError: shapes or types that do not fit, a target out of range (its place is named), an unknown option,
            ε or ε_b outside [0, 1], a λ or τ that cannot be, ``regularisation`` with a sparse book.

    Paper: BookKD, Knowledge-Based Systems 2023, 10.1016/j.knosys.2023.110916. Established: several teachers'
    knowledge is ensembled, regularised and stored once; the loss is adjusted by entropy, and the hard target
    smoothed. Chosen, as the paper's exact form was not at hand: the formulas above, and τ².
    """
    tokens = ValidPositions.of(logits, targets, ignore_index=ignore_index, reduction=reduction)
    classes = logits.shape[-1]
    if classes < 2:
        raise ValueError(f"logits must have at least 2 classes, got shape {tuple(logits.shape)}")
    check_share("smoothing", smoothing)
    check_share("regularisation", regularisation)
    check_distance("kl", temperature)
    check_choice("tail", tail, TAILS)
    if isinstance(book, SparsePosteriors):
        if regularisation:
            raise ValueError("regularisation must be 0 for a sparse book: it is done before the book is cut")
        check_sparse(book, logits)
    else:
        book = tokens.fitting("book", book)
    log_probs = tokens.log_softmax(logits)  # (N, C)
    weight = log_probs.new_ones(len(log_probs))

    def hard() -> Tensor:
        value = tokens.cross_entropy(log_probs)
        return (1 - smoothing) * value - smoothing * log_probs.mean(-1) if smoothing else value

    def kd() -> Tensor:
        nonlocal weight
        student = log_probs if temperature == 1 else tokens.log_softmax(logits, temperature)
        if isinstance(book, SparsePosteriors):
            rows = book.map(lambda x: rows_of(tokens, x))
            divergence = sparse_divergence(student, rows, tail)
            known = entropy_of(rows, classes, log_probs.dtype) if adjust else None
        else:
            b = tokens.log_softmax(book).to(log_probs.dtype)  # (N, C)
            if regularisation:
                b = _mixed(b, tokens.targets, regularisation)
            divergence = kl_divergence(b, student)
            known = torch.special.entr(b.exp()).sum(-1) if adjust else None
        if known is not None:
            weight = trust_of(known, classes).to(divergence.dtype)
        return temperature**2 * weight * divergence

    result = tokens.weigh(hard=(1.0, hard), kd=(kd_weight, kd))
    if "kd" in result.terms:
        result.terms["weight"] = tokens.reduce(weight, "none" if reduction == "none" else "mean")
    return result
